package claude

import (
	"bytes"
	"os"
	"strconv"

	"syscall"

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
// died, so that commands the CLI left behind can be found and ended.
func AdoptOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

type processInfo struct{ pid, parent, session int }

// processes reads the process table.
func processes() []processInfo {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []processInfo
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // It has just ended.
		}
		// "pid (name) state ppid pgrp session …"; the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 4 {
			continue
		}
		parent, _ := strconv.Atoi(string(fields[1]))
		session, _ := strconv.Atoi(string(fields[3]))
		all = append(all, processInfo{pid: pid, parent: parent, session: session})
	}
	return all
}

// descendants lists the processes below pid.
func descendants(pid int) []int {
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

func killAll(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // It may have ended by itself.
	}
}

// killOrphans ends and reaps this process's children that live in another
// session: what the CLI left behind. It does nothing unless AdoptOrphans was
// called.
func killOrphans() {
	live.mu.Lock()
	defer live.mu.Unlock()
	self := os.Getpid()
	session, err := unix.Getsid(0)
	if err != nil {
		return
	}
	for range killRounds {
		found := false
		for _, p := range processes() {
			if p.parent != self || p.session == session || live.pids[p.pid] {
				continue
			}
			found = true
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(p.pid, nil, 0, nil)
		}
		if !found {
			return
		}
	}
}
