// Package process runs an agent's program: it talks to it in lines, holds it, and ends it
// with all that it started.
package process

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	// MaxLine is the longest line that is read as a message. The agent cuts tool
	// output itself; base64 images are the largest lines in practice.
	MaxLine = 32 << 20
	// stderrTail is how much of the end of stderr is kept for a failure message.
	stderrTail = 4096
	// drainTimeout is how long output may keep coming after the agent is gone,
	// from a child that inherited its stdout.
	drainTimeout = time.Second
)

// Line is one line of the agent's stdout.
type Line struct {
	Data []byte
	// Garbage is set for what cannot be a message: too long, or not JSON.
	Garbage bool
}

// Exit is how the agent ended.
type Exit struct {
	Code   int
	Signal syscall.Signal
	Stderr string
}

func (e Exit) String() string {
	s := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != 0 {
		s = fmt.Sprintf("killed by signal %d (%s)", int(e.Signal), e.Signal)
	}
	if e.Stderr != "" {
		s += ": " + e.Stderr
	}
	return s
}

// Process is a running agent in a session, and so a process group, of its own.
type Process struct {
	PID int
	// Lines are the agent's stdout, closed at its end.
	Lines chan Line
	// Exited is closed when the agent is gone and reaped; Exit is then set.
	Exited chan struct{}
	Exit   Exit

	mu      sync.Mutex
	queue   [][]byte
	closing bool
	wake    chan struct{}

	stop     chan struct{}
	stopOnce sync.Once
	wg       sync.WaitGroup
}

// Start starts the agent. The caller reads Lines until it is closed and
// calls Close at the end.
func Start(path string, args []string, dir string, env []string) (*Process, error) {
	//nolint:noctx // It is ended step by step, and with all that it started, see close.
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = sysProcAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the agent: %w", err)
	}
	stdout, stdoutChild, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the agent: %w", err)
	}
	stderr, stderrChild, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the agent: %w", err), stdout.Close(), stdoutChild.Close())
	}
	cmd.Stdout, cmd.Stderr = stdoutChild, stderrChild
	p := &Process{
		Lines:  make(chan Line),
		Exited: make(chan struct{}),
		wake:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
	}
	var tail tailBuffer
	started := make(chan error)
	p.wg.Go(func() {
		// The kernel kills the agent when the thread that started it ends, so
		// this goroutine keeps its thread until the agent is gone.
		runtime.LockOSThread()
		err := startLive(cmd)
		_ = stdoutChild.Close() // The agent has its own copies.
		_ = stderrChild.Close()
		if err != nil {
			started <- err
			return
		}
		p.PID = cmd.Process.Pid
		started <- nil
		_ = cmd.Wait() // The state below says more.
		forgetLive(p.PID)
		deadline := time.Now().Add(drainTimeout)
		_ = stdout.SetReadDeadline(deadline)
		_ = stderr.SetReadDeadline(deadline)
		p.Exit = Exit{Code: cmd.ProcessState.ExitCode()}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.Exit.Signal = status.Signal()
		}
	})
	if err := <-started; err != nil {
		p.wg.Wait()
		return nil, errors.Join(fmt.Errorf("starting the agent: %w", err), stdout.Close(), stderr.Close(), stdin.Close())
	}
	var readers sync.WaitGroup
	readers.Go(func() { _, _ = io.Copy(&tail, stderr) }) // Ends with the agent; what came is kept.
	readers.Go(func() { p.read(stdout) })
	go func() {
		p.wg.Wait() // The agent is reaped.
		readers.Wait()
		_ = stdout.Close()
		_ = stderr.Close()
		p.Exit.Stderr = tail.String()
		close(p.Exited)
	}()
	go p.write(stdin)
	return p, nil
}

// read passes stdout on, line by line.
func (p *Process) read(stdout io.Reader) {
	defer close(p.Lines)
	r := bufio.NewReaderSize(stdout, 1<<16)
	for {
		data, tooLong, err := ReadLine(r)
		if len(bytes.TrimSpace(data)) > 0 || tooLong {
			l := Line{Data: data, Garbage: tooLong || !json.Valid(data) || bytes.TrimSpace(data)[0] != '{'}
			select {
			case p.Lines <- l:
			case <-p.stop:
				_, _ = io.Copy(io.Discard, r)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// ReadLine reads up to the next line break. What is beyond MaxLine is dropped.
func ReadLine(r *bufio.Reader) (data []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(data)+len(part) <= MaxLine {
			data = append(data, part...)
		} else {
			tooLong = true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return data, tooLong, err
		}
	}
}

// Send queues a message for the agent's stdin. It never blocks.
func (p *Process) Send(message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding a message for the agent: %w", err)
	}
	_, err = p.Write(append(data, '\n'))
	return err
}

// Write queues lines for the agent's stdin. It never blocks or fails.
func (p *Process) Write(lines []byte) (int, error) {
	p.mu.Lock()
	p.queue = append(p.queue, bytes.Clone(lines))
	p.mu.Unlock()
	p.wakeWriter()
	return len(lines), nil
}

// CloseInput closes stdin after what is queued, which tells the agent to end.
func (p *Process) CloseInput() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.wakeWriter()
}

func (p *Process) wakeWriter() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// write owns stdin: an agent that does not read must not block anyone else.
func (p *Process) write(stdin io.WriteCloser) {
	defer stdin.Close()
	for {
		p.mu.Lock()
		queue, closing := p.queue, p.closing
		p.queue = nil
		p.mu.Unlock()
		for _, data := range queue {
			if _, err := stdin.Write(data); err != nil {
				return // The agent closed its stdin; its exit says why.
			}
		}
		if closing && len(queue) == 0 {
			return
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-p.wake:
		case <-p.Exited:
			return
		}
	}
}

// Signal signals the agent and its process group.
func (p *Process) Signal(sig syscall.Signal) {
	select {
	case <-p.Exited:
	default:
		_ = syscall.Kill(-p.PID, sig) // It may have just gone.
	}
}

// Terminate asks the agent and its commands to end.
func (p *Process) Terminate() { p.Signal(syscall.SIGTERM) }

// Close kills what is left and waits until the agent is reaped. Commands that
// the agent started live in sessions of their own: they are ended as well.
func (p *Process) Close() {
	p.stopOnce.Do(func() { close(p.stop) })
	left := Descendants(p.PID)
	p.Signal(syscall.SIGKILL)
	killAll(left)
	<-p.Exited
	killOrphans()
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	mu   sync.Mutex
	data []byte
}

func (t *tailBuffer) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, data...)
	if over := len(t.data) - stderrTail; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(data), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(sanitize.Text(string(t.data)))
}
