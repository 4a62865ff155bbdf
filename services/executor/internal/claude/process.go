package claude

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
	// maxLine is the longest line that is read as a message. The CLI cuts tool
	// output itself; base64 images are the largest lines in practice.
	maxLine = 32 << 20
	// stderrTail is how much of the end of stderr is kept for a failure message.
	stderrTail = 4096
	// drainTimeout is how long output may keep coming after the CLI is gone,
	// from a child that inherited its stdout.
	drainTimeout = time.Second
)

// line is one line of the CLI's stdout.
type line struct {
	data []byte
	// garbage is set for what cannot be a message: too long, or not JSON.
	garbage bool
}

// exit is how the CLI ended.
type exit struct {
	code   int
	signal syscall.Signal
	stderr string
}

func (e exit) String() string {
	s := fmt.Sprintf("exit code %d", e.code)
	if e.signal != 0 {
		s = fmt.Sprintf("killed by signal %d (%s)", int(e.signal), e.signal)
	}
	if e.stderr != "" {
		s += ": " + e.stderr
	}
	return s
}

// process is a running CLI in a session, and so a process group, of its own.
type process struct {
	pid   int
	lines chan line
	// exited is closed when the CLI is gone and reaped; exit is then set.
	exited chan struct{}
	exit   exit

	mu      sync.Mutex
	queue   [][]byte
	closing bool
	wake    chan struct{}

	stop     chan struct{}
	stopOnce sync.Once
	wg       sync.WaitGroup
}

// startProcess starts the CLI. The caller reads lines until it is closed and
// calls close at the end.
func startProcess(path string, args []string, dir string, env []string) (*process, error) {
	//nolint:noctx // It is ended step by step, and with all that it started, see close.
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = sysProcAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the CLI: %w", err)
	}
	stdout, stdoutChild, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the CLI: %w", err)
	}
	stderr, stderrChild, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the CLI: %w", err), stdout.Close(), stdoutChild.Close())
	}
	cmd.Stdout, cmd.Stderr = stdoutChild, stderrChild
	p := &process{
		lines:  make(chan line),
		exited: make(chan struct{}),
		wake:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
	}
	var tail tailBuffer
	started := make(chan error)
	p.wg.Go(func() {
		// The kernel kills the CLI when the thread that started it ends, so
		// this goroutine keeps its thread until the CLI is gone.
		runtime.LockOSThread()
		err := startLive(cmd)
		_ = stdoutChild.Close() // The CLI has its own copies.
		_ = stderrChild.Close()
		if err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		_ = cmd.Wait() // The state below says more.
		forgetLive(p.pid)
		deadline := time.Now().Add(drainTimeout)
		_ = stdout.SetReadDeadline(deadline)
		_ = stderr.SetReadDeadline(deadline)
		p.exit = exit{code: cmd.ProcessState.ExitCode()}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.exit.signal = status.Signal()
		}
	})
	if err := <-started; err != nil {
		p.wg.Wait()
		return nil, errors.Join(fmt.Errorf("starting the CLI: %w", err), stdout.Close(), stderr.Close(), stdin.Close())
	}
	var readers sync.WaitGroup
	readers.Go(func() { _, _ = io.Copy(&tail, stderr) }) // Ends with the CLI; what came is kept.
	readers.Go(func() { p.read(stdout) })
	go func() {
		p.wg.Wait() // The CLI is reaped.
		readers.Wait()
		_ = stdout.Close()
		_ = stderr.Close()
		p.exit.stderr = tail.String()
		close(p.exited)
	}()
	go p.write(stdin)
	return p, nil
}

// read passes stdout on, line by line.
func (p *process) read(stdout io.Reader) {
	defer close(p.lines)
	r := bufio.NewReaderSize(stdout, 1<<16)
	for {
		data, tooLong, err := readLine(r)
		if len(bytes.TrimSpace(data)) > 0 || tooLong {
			l := line{data: data, garbage: tooLong || !json.Valid(data) || bytes.TrimSpace(data)[0] != '{'}
			select {
			case p.lines <- l:
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

// readLine reads up to the next line break. What is beyond maxLine is dropped.
func readLine(r *bufio.Reader) (data []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(data)+len(part) <= maxLine {
			data = append(data, part...)
		} else {
			tooLong = true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return data, tooLong, err
		}
	}
}

// send queues a message for the CLI's stdin. It never blocks.
func (p *process) send(message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding a message for the CLI: %w", err)
	}
	p.mu.Lock()
	p.queue = append(p.queue, append(data, '\n'))
	p.mu.Unlock()
	p.wakeWriter()
	return nil
}

// closeInput closes stdin after what is queued, which tells the CLI to end.
func (p *process) closeInput() {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.wakeWriter()
}

func (p *process) wakeWriter() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// write owns stdin: a CLI that does not read must not block anyone else.
func (p *process) write(stdin io.WriteCloser) {
	defer stdin.Close()
	for {
		p.mu.Lock()
		queue, closing := p.queue, p.closing
		p.queue = nil
		p.mu.Unlock()
		for _, data := range queue {
			if _, err := stdin.Write(data); err != nil {
				return // The CLI closed its stdin; its exit says why.
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
		case <-p.exited:
			return
		}
	}
}

// signalGroup signals the CLI and its process group.
func (p *process) signalGroup(sig syscall.Signal) {
	select {
	case <-p.exited:
	default:
		_ = syscall.Kill(-p.pid, sig) // It may have just gone.
	}
}

// terminate asks the CLI and its commands to end.
func (p *process) terminate() { p.signalGroup(syscall.SIGTERM) }

// close kills what is left and waits until the CLI is reaped. Commands that
// the CLI started live in sessions of their own: they are ended as well.
func (p *process) close() {
	p.stopOnce.Do(func() { close(p.stop) })
	left := descendants(p.pid)
	p.signalGroup(syscall.SIGKILL)
	killAll(left)
	<-p.exited
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
