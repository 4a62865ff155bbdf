package process

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// killRounds bounds how often orphans are looked for: each round ends one
// generation of children.
const killRounds = 20

func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		// A session of its own: signals for the executor's terminal do not
		// reach it, and its descendants can be told from the executor's own
		// children.
		Setsid: true,
		// Dies with the executor, even when that is killed.
		Pdeathsig: syscall.SIGKILL,
	}
}

// AdoptOrphans makes this process the new parent of descendants whose parent
// died, so that commands the agent left behind can be found and ended.
func AdoptOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

type processInfo struct {
	pid, parent, session int
	// state is a letter, see proc(5).
	state string
}

// processes reads the process table.
func processes() []processInfo {
	running, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	var all []processInfo
	for _, p := range running {
		if stat, err := p.Stat(); err == nil { // else it has just ended
			all = append(all, processInfo{pid: p.PID, parent: stat.PPID, session: stat.Session, state: stat.State})
		}
	}
	return all
}

// Descendants lists the processes below pid.
func Descendants(pid int) []int {
	all := processes()
	var found []int
	for level := []int{pid}; len(level) > 0; {
		var next []int
		for _, parent := range level {
			for _, p := range all {
				if p.parent == parent {
					next = append(next, p.pid)
				}
			}
		}
		found = append(found, next...)
		level = next
	}
	return found
}

// State is a process's state as a letter, see proc(5); empty when it is gone.
func State(pid int) string {
	for _, p := range processes() {
		if p.pid == pid {
			return p.state
		}
	}
	return ""
}

func killAll(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // It may have ended by itself.
	}
}

// orphans are this process's children that live in another session and are no
// agent: what an agent left behind. There are none unless AdoptOrphans was called.
// The caller holds live.mu.
func orphans() []processInfo {
	self := os.Getpid()
	session, err := unix.Getsid(0)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(processes(), func(p processInfo) bool {
		return p.parent != self || p.session == session || live.pids[p.pid]
	})
}

// killOrphans ends and reaps what the agent left behind.
func killOrphans() {
	live.mu.Lock()
	defer live.mu.Unlock()
	for range killRounds {
		found := orphans()
		if len(found) == 0 {
			return
		}
		for _, p := range found {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
			AwaitExit(p.pid)
		}
	}
}

// LeftBehind lists the commands that outlived the shell that started them and
// still run, and reaps those that do not.
func LeftBehind() []Leftover {
	live.mu.Lock()
	defer live.mu.Unlock()
	var left []Leftover
	for _, p := range orphans() {
		if p.state == "Z" { // It waits to be reaped.
			AwaitExit(p.pid)
			continue
		}
		left = append(left, Leftover{PID: p.pid, Command: commandOf(p.pid)})
	}
	return left
}

func commandOf(pid int) string {
	var words []string
	if p, err := procfs.NewProc(pid); err == nil {
		words, _ = p.CmdLine() // Not there any more, or a process without arguments: its number has to do.
	}
	return cmp.Or(strings.TrimSpace(strings.Join(words, " ")), fmt.Sprintf("process %d", pid))
}

// AwaitExit waits until a child has ended, and reaps it.
func AwaitExit(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			return // It is reaped, by this or by another who waited.
		}
	}
}
