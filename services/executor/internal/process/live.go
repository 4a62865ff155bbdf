package process

import (
	"os/exec"
	"strings"
	"sync"

	"github.com/poco-ai/poco/services/internal/sanitize"
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

// maxNamed is how many bytes of a command name it to a person.
const maxNamed = 200

// Quote names a command to a person, in one line.
func Quote(command string) string {
	line := strings.Join(strings.Fields(command), " ")
	if short := sanitize.Head(line, maxNamed); short != line {
		line = short + "…"
	}
	return "`" + line + "`"
}
