package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/testkit"
	// All that the programs are made of: go test does not see what "go build"
	// reads, and would take its results from before a change.
	_ "github.com/poco-ai/poco/services/poco/internal/command"
)

// binDir holds the programs under test, built once by TestMain.
var binDir string

func TestMain(m *testing.M) {
	if fakeCLIRequested() {
		os.Exit(fakeCLI())
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "poco-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	for _, name := range []string{"backend", "manager", "executor", "frontend", "poco"} {
		build := exec.Command("go", "build", "-o", programPath(name), "github.com/poco-ai/poco/services/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
			return 1
		}
	}
	return m.Run()
}

// programPath is where a program under test is.
func programPath(name string) string {
	if name == "poco" {
		return filepath.Join(binDir, name)
	}
	return filepath.Join(binDir, "poco-"+name)
}

// startTimeout bounds the start of one program: migrations included, on a busy
// machine.
const startTimeout = 60 * time.Second

// program is one service as a process that can be killed and frozen.
type program struct {
	t    testing.TB
	name string
	port int
	env  map[string]string
	// log gets what the program writes, besides the test's own output, or, when
	// quiet, instead of it.
	log   io.Writer
	quiet bool
	cmd   *exec.Cmd
	done  chan struct{}
}

// newProgram prepares a service; its port stays the same over restarts.
func newProgram(t testing.TB, name string, env map[string]string) *program {
	t.Helper()
	p := &program{t: t, name: name, port: testkit.FreePort(t), env: map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME"), "LOG_LEVEL": "WARNING",
	}}
	maps.Copy(p.env, env)
	t.Cleanup(p.cleanUp)
	return p
}

// url is the service's base URL.
func (p *program) url() string { return "http://127.0.0.1:" + strconv.Itoa(p.port) }

// launch starts the process without waiting for anything.
func (p *program) launch() {
	p.t.Helper()
	p.cmd = exec.Command(programPath(p.name))
	for _, key := range slices.Sorted(maps.Keys(p.env)) {
		p.cmd.Env = append(p.cmd.Env, key+"="+p.env[key])
	}
	p.cmd.Dir = p.t.TempDir()
	output := p.t.Output()
	switch {
	case p.quiet:
		output = p.log
	case p.log != nil:
		output = io.MultiWriter(p.log, output)
	}
	p.cmd.Stdout, p.cmd.Stderr = output, output
	require.NoError(p.t, p.cmd.Start())
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
}

// start launches the process and returns when it serves.
func (p *program) start() {
	p.t.Helper()
	p.launch()
	p.awaitServing()
}

// awaitServing returns when the service's health says SERVING.
func (p *program) awaitServing() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), startTimeout)
	defer cancel()
	done := p.done // the program may be launched anew before this ends
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	conn := p.dial(config.Secret{})
	stream, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(p.t, err, "%s does not serve", p.name)
	for {
		status, err := stream.Recv()
		require.NoError(p.t, err, "%s does not serve", p.name)
		if status.GetStatus() == healthv1.HealthCheckResponse_SERVING {
			return
		}
	}
}

func (p *program) dial(token config.Secret) *grpc.ClientConn {
	p.t.Helper()
	conn, err := grpcclient.Dial(p.url(), token)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// kill ends the process at once, as a crash would.
func (p *program) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	<-p.done
}

// stop ends the process in good order.
func (p *program) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.done
	require.True(p.t, p.cmd.ProcessState.Success(), "%s ended with %v", p.name, p.cmd.ProcessState)
}

func (p *program) freeze() { require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP)) }
func (p *program) wake()   { require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT)) }

func (p *program) cleanUp() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Errorf("%s did not end on SIGTERM", p.name)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// processesWith returns the ids of living processes whose command line or
// environment contains text.
func processesWith(t testing.TB, text string) []int {
	t.Helper()
	return processes(t, func(dir string) bool {
		for _, file := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(filepath.Join(dir, file))
			if err == nil && strings.Contains(string(content), text) {
				return true
			}
		}
		return false
	})
}

// processesIn returns the ids of living processes that work in a folder.
func processesIn(t testing.TB, dir string) []int {
	t.Helper()
	return processes(t, func(proc string) bool {
		cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
		return err == nil && cwd == dir
	})
}

// processes returns the ids of living processes, this one excepted, whose
// folder below /proc matches.
func processes(t testing.TB, match func(dir string) bool) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err == nil && pid != os.Getpid() && match(filepath.Join("/proc", entry.Name())) {
			found = append(found, pid)
		}
	}
	return found
}
