package process

import (
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// stopAll stops the agent and all it started where they are, and returns whom it
// stopped, in that order: parents come before their children, so that no shell
// sees a child of its stop and takes it for the user's wish. Each round finds
// what was started while the one before looked.
func stopAll(root int) []int {
	var stopped []int
	seen := map[int]bool{}
	for range killRounds {
		found := false
		for _, p := range agentProcesses(root) {
			if seen[p.pid] || p.state == "T" || p.state == "t" || p.state == "Z" {
				continue
			}
			found, seen[p.pid] = true, true
			if syscall.Kill(p.pid, syscall.SIGSTOP) == nil {
				stopped = append(stopped, p.pid)
			}
		}
		if !found {
			break
		}
	}
	return stopped
}

// continueAll lets go on whom stopAll stopped, children first.
func continueAll(stopped []int) {
	for _, pid := range slices.Backward(stopped) {
		_ = syscall.Kill(pid, syscall.SIGCONT) // It may have been killed.
	}
}

// agentProcesses lists the agent, what lives below it, and orphans of its that
// this process adopted, parents first.
func agentProcesses(root int) []processInfo {
	all := processes()
	self := os.Getpid()
	session, _ := unix.Getsid(0) // 0 is no session
	var found []processInfo
	for _, p := range all {
		if p.pid == root || p.parent == self && p.session != session {
			found = append(found, p)
		}
	}
	for i := 0; i < len(found); i++ {
		for _, p := range all {
			if p.parent == found[i].pid {
				found = append(found, p)
			}
		}
	}
	return found
}
