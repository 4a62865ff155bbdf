package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// supervisor runs a server and ends it when file descriptor 3 closes, which
// happens when this process stops it and when this process dies, however it
// dies. Descriptor 4 closes when the server has ended. $1 is the signal that
// ends the server cleanly, $2 how many seconds
// later it is killed (empty: never), $3 a folder to remove afterwards, with its
// log.
//
// A shell, because the parent-death signal of Linux is tied to the thread that
// started the child, not to the process, and other systems have none.
const supervisor = `
signal=$1 grace=$2 cleanup=$3
shift 3
"$@" 3<&- 4>&- &
server=$!
(
  read -r _ <&3
  kill -s "$signal" "$server"
  [ -z "$grace" ] || { sleep "$grace"; kill -s KILL "$server"; }
) 4>&- 2>/dev/null &
watch=$!
wait "$server"
code=$?
kill "$watch" 2>/dev/null
[ -z "$cleanup" ] || rm -rf -- "$cleanup" "$cleanup.log"
exit "$code"
`

// pollInterval is how often a starting server is asked whether it is ready.
const pollInterval = 10 * time.Millisecond

// child is a supervised server process. It costs no goroutine until done is
// asked for.
type child struct {
	name  string
	cmd   *exec.Cmd
	leash *os.File // closing it ends the server
	ended *os.File // at its end when the server has ended

	mu      sync.Mutex
	waiting bool
	reaped  bool
	doneCh  chan struct{}
}

// live keeps running children reachable: a collected leash would be closed, and
// its server ended.
var live sync.Map

type childSpec struct {
	name string
	argv []string
	// env is added to this process's environment.
	env []string
	// signal ends the server cleanly, for example "TERM".
	signal string
	// grace is how many seconds after the signal the server is killed; empty
	// waits for as long as it takes.
	grace string
	// remove is a folder to remove when the server has ended.
	remove  string
	logPath string
	dir     string
	account *account
}

func startChild(spec childSpec) (*child, error) {
	logFile, err := os.OpenFile(spec.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", spec.name, err)
	}
	defer logFile.Close()

	if err := spec.account.own(spec.logPath); err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", spec.name, err)
	}
	leashRead, leash, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.name, err)
	}
	defer leashRead.Close()
	ended, endedWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.name, err), leash.Close())
	}
	defer endedWrite.Close()

	// Its own context: a server outlives the call that started it.
	cmd := exec.CommandContext(context.Background(), "/bin/sh",
		append([]string{"-c", supervisor, "sh", spec.signal, spec.grace, spec.remove}, spec.argv...)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{leashRead, endedWrite}
	cmd.Env = append(os.Environ(), spec.env...)
	cmd.Dir = spec.dir
	// A group of its own: Ctrl-C at the terminal is for this process, which
	// then stops the server in its turn.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: spec.account.credential()}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.name, err), leash.Close(), ended.Close())
	}
	c := &child{name: spec.name, cmd: cmd, leash: leash, ended: ended}
	live.Store(c, nil)
	return c, nil
}

// waitReady asks probe until it succeeds, the server ends, or ctx does.
func (c *child) waitReady(ctx context.Context, probe func(context.Context) error) error {
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s did not become ready: %w", c.name, errors.Join(ctx.Err(), err))
		}
		if c.hasEnded(time.Now().Add(pollInterval)) {
			c.reap()
			return errEnded
		}
	}
}

var errEnded = errors.New("ended while starting")

// hasEnded waits until a deadline for the server's end.
func (c *child) hasEnded(deadline time.Time) bool {
	if err := c.ended.SetReadDeadline(deadline); err != nil {
		return true // closed: it has been reaped
	}
	_, err := c.ended.Read(make([]byte, 1))
	return errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed)
}

// done is closed when the server has ended.
func (c *child) done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doneCh == nil {
		c.doneCh = make(chan struct{})
		if c.reaped {
			close(c.doneCh)
			return c.doneCh
		}
		c.waiting = true
		ch := c.doneCh
		go func() {
			for !c.hasEnded(time.Time{}) { // no deadline
			}
			c.reap()
			close(ch)
		}()
	}
	return c.doneCh
}

// stop ends the server cleanly, or at once when ctx ends.
func (c *child) stop(ctx context.Context) error {
	c.release()
	if c.waitEnded(ctx) {
		return nil
	}
	c.kill()
	<-c.done()
	return fmt.Errorf("stop %s: %w; it has been killed", c.name, ctx.Err())
}

func (c *child) waitEnded(ctx context.Context) bool {
	c.mu.Lock()
	background := c.waiting
	c.mu.Unlock()
	if background {
		select {
		case <-c.done():
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		if c.hasEnded(time.Now().Add(pollInterval)) {
			c.reap()
			return true
		}
	}
	return false
}

func (c *child) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.leash.Close() // closed already the second time
}

// kill ends the whole group, the supervisor included.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		// It may have just ended by itself.
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
}

func (c *child) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return
	}
	c.reaped = true
	live.Delete(c)
	_ = c.cmd.Wait() // the exit code of a stopped server says nothing
	_ = c.leash.Close()
	_ = c.ended.Close()
}

// lastLines returns the end of a log, to be shown with a failure.
func lastLines(path string, from int64) string {
	const most = 4 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	from = max(from, info.Size()-most)
	text, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	return strings.Join(lines, "\n")
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
