package process

import (
	"os/exec"
	"sync"
)

// live holds the agents that run, so that ending the orphans of one does not end
// another. Starting and looking for orphans exclude each other.
var live = struct {
	mu   sync.Mutex
	pids map[int]bool
}{pids: map[int]bool{}}

func startLive(cmd *exec.Cmd) error {
	live.mu.Lock()
	defer live.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	live.pids[cmd.Process.Pid] = true
	return nil
}

func forgetLive(pid int) {
	live.mu.Lock()
	defer live.mu.Unlock()
	delete(live.pids, pid)
}

// Leftover is a process that an agent left behind.
type Leftover struct {
	PID     int
	Command string
}
