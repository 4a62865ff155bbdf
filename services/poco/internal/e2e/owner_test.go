package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// localPoco is a "poco up" on a data folder of its own.
type localPoco struct {
	t   *testing.T
	dir string
	// env is that of all its commands.
	env   []string
	cmd   *exec.Cmd
	ended <-chan struct{}
	out   *output.Buffer
	urls  map[string]string
}

// signalWhen is written to after in, and says when that has a text.
type signalWhen struct {
	in     *output.Buffer
	has    string
	signal chan struct{}
}

// Write implements io.Writer.
func (w *signalWhen) Write(text []byte) (int, error) {
	if w.signal != nil && strings.Contains(w.in.String(), w.has) {
		close(w.signal)
		w.signal = nil
	}
	return len(text), nil
}

func newLocalPoco(t *testing.T) *localPoco {
	t.Helper()
	// Not t.TempDir: as root, Postgres has to pass the folder as another user.
	parent, err := os.MkdirTemp("", "poco-e2e-up-") //nolint:usetesting // see above
	require.NoError(t, err)
	require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // see above
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(parent)) })
	return &localPoco{t: t, dir: filepath.Join(parent, "data"), env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + parent, "CLAUDE_CLI_PATH=" + realCLI(t),
		"PORT=0", "FRONTEND_PORT=0", "EXECUTOR_MANAGER_PORT=0", "POCO_S3_PORT=0",
	}}
}

// up starts everything and returns when it is ready.
func (p *localPoco) up() {
	p.t.Helper()
	p.prepare("up", "--scripted-model")
	p.start(p.shows("Send work with:"))
	text, err := os.ReadFile(filepath.Join(p.dir, "running.json"))
	require.NoError(p.t, err)
	p.urls = map[string]string{}
	var said map[string]any
	require.NoError(p.t, json.Unmarshal(text, &said))
	for _, name := range []string{"backend", "manager", "frontend"} {
		p.urls[name] = "http://" + said[name].(string)
	}
}

// prepare makes the command that starts everything.
func (p *localPoco) prepare(args ...string) {
	p.cmd = exec.Command(programPath("poco"), append(args, "--runtime", "process", "--data-dir", p.dir)...)
	p.cmd.Env, p.cmd.Dir = p.env, p.t.TempDir()
}

// shows collects what the command writes, and returns what says that it has
// written a text.
func (p *localPoco) shows(text string) <-chan struct{} {
	p.out = &output.Buffer{}
	shown := make(chan struct{})
	both := io.MultiWriter(p.out, p.t.Output(), &signalWhen{in: p.out, has: text, signal: shown})
	p.cmd.Stdout, p.cmd.Stderr = both, both
	return shown
}

// start starts the command and returns when ready says so.
func (p *localPoco) start(ready <-chan struct{}) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Start())
	ended := make(chan struct{})
	p.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		_ = cmd.Wait() // ended by a signal, or seen below
	}(p.cmd)
	p.t.Cleanup(p.down)
	select {
	case <-ready:
	case <-ended:
		require.FailNow(p.t, "poco up ended", p.out.String())
	case <-time.After(2 * startTimeout):
		require.FailNow(p.t, "poco up does not start", p.out.String())
	}
}

// end sends a signal and returns when the process has ended.
func (p *localPoco) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal) // may have ended
	<-p.ended
}

func (p *localPoco) down() { p.end(syscall.SIGTERM) }

// poco runs a command of the same user; another is one who is not root, or, where
// the test is no root either, at least one who knows nothing.
func (p *localPoco) poco(another bool, args ...string) (string, int) {
	p.t.Helper()
	program := programPath("poco")
	cmd := exec.CommandContext(p.t.Context(), program, args...)
	cmd.Env = append(slices.Clone(p.env), "POCO_URL="+p.urls["backend"], "POCO_MANAGER_URL="+p.urls["manager"], "POCO_FRONTEND_URL="+p.urls["frontend"])
	if another {
		cmd.Env = append(cmd.Env, "HOME=/")
		if os.Geteuid() == 0 {
			cmd.Path = p.forEverybody(program)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(p.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// forEverybody is a copy of a program where every user can run it.
func (p *localPoco) forEverybody(program string) string {
	p.t.Helper()
	path := filepath.Join(filepath.Dir(p.dir), "poco")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	content, err := os.ReadFile(program)
	require.NoError(p.t, err)
	require.NoError(p.t, os.WriteFile(path, content, 0o755)) //nolint:gosec // that is its purpose
	return path
}

// TestOnlyItsOwnerUsesALocalPoco: a user of the same machine can do nothing with a
// "poco up" of somebody else, who needs to do nothing about it.
func TestOnlyItsOwnerUsesALocalPoco(t *testing.T) {
	p := newLocalPoco(t)
	p.up()
	tokenFile := filepath.Join(p.dir, "client-token")
	info, err := os.Stat(tokenFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	content, err := os.ReadFile(tokenFile)
	require.NoError(t, err)
	token := strings.TrimSpace(string(content))

	t.Run("the owner", func(t *testing.T) {
		out, code := p.poco(false, "run", "--data-dir", p.dir, "Hello")
		require.Zero(t, code, out)
		out, code = p.poco(false, "ls", "--data-dir", p.dir, "--backend", p.urls["frontend"]+"/api/v1")
		require.Zero(t, code, out)
		require.Contains(t, out, "Hello")
		out, code = p.poco(false, "token", "--data-dir", p.dir)
		require.Zero(t, code, out)
		require.Equal(t, token+"\n", out)
		for _, command := range []string{"show", "peers"} {
			out, code = p.poco(false, "config", command, "--data-dir", p.dir)
			require.Zero(t, code, out)
		}
		require.NotContains(t, out, token)
	})
	t.Run("another user", func(t *testing.T) {
		for _, backend := range []string{p.urls["backend"], p.urls["frontend"] + "/api/v1"} {
			out, code := p.poco(true, "run", "--backend", backend, "[[bash:id]]")
			require.Equal(t, 2, code, out)
			require.Contains(t, out, "a token is required")
			require.Contains(t, out, "client-token")
			require.NotContains(t, out, "uid=")
		}
		out, code := p.poco(true, "config", "show")
		require.NotZero(t, code, out)
		require.NotContains(t, out, p.dir, "settings")
		if os.Geteuid() != 0 {
			return // there is no other user
		}
		out, code = p.poco(true, "run", "--data-dir", p.dir, "[[bash:id]]")
		require.Equal(t, 2, code, out)
		require.Contains(t, out, "is that of the user root")
		out, code = p.poco(true, "token", "--data-dir", p.dir)
		require.NotZero(t, code, out)
		require.Contains(t, out, "only for the user root")
	})
	t.Run("every procedure", func(t *testing.T) {
		asked := 0
		protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
			for i := range file.Services().Len() {
				methods := file.Services().Get(i).Methods()
				for j := range methods.Len() {
					asked += p.requireRefused(t, methods.Get(j))
				}
			}
			return true
		})
		require.Greater(t, asked, 30)
	})
	t.Run("the page", func(t *testing.T) {
		link := regexp.MustCompile(`http://127\.0\.0\.1:\d+/#token=(\S+)`).FindStringSubmatch(p.out.String())
		require.Len(t, link, 2, "poco up prints the link")
		require.Equal(t, token, link[1])
		out, code := p.poco(false, "token", "--link", "--data-dir", p.dir)
		require.Zero(t, code, out)
		require.Equal(t, link[0]+"\n", out)
		list := p.urls["frontend"] + "/api/v1/poco.backend.v1.SessionService/ListSessions"
		require.Equal(t, http.StatusOK, p.post(t, list, "Bearer "+token))
		require.Equal(t, http.StatusUnauthorized, p.post(t, list, ""))
		require.Equal(t, http.StatusUnauthorized, p.post(t, list, "Bearer "+token+"x"))
	})

	p.end(syscall.SIGKILL)
	out, code := p.poco(false, "ls", "--data-dir", p.dir)
	require.Equal(t, 4, code, out)
	p.up()
	after, err := os.ReadFile(tokenFile)
	require.NoError(t, err)
	require.Equal(t, string(content), string(after), "kept over restarts")
	out, code = p.poco(false, "ls", "--data-dir", p.dir)
	require.Zero(t, code, out)
	require.Contains(t, out, "Hello")
	p.down()

	require.NoError(t, filepath.WalkDir(p.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || path == tokenFile {
			return err
		}
		content, err := os.ReadFile(path)
		require.NotContains(t, string(content), token, path)
		return err
	}))
}

// requireRefused calls a procedure at every service without and with a wrong
// token, and returns how many have it. What is open by its nature is left out, and
// what looks at the request first.
func (p *localPoco) requireRefused(t *testing.T, m protoreflect.MethodDescriptor) int {
	t.Helper()
	switch m.FullName() {
	case "poco.config.v1.ConfigService.CheckPeers", "poco.config.v1.ConfigService.ComparePeer":
		return 0
	}
	if !strings.HasPrefix(string(m.FullName()), "poco.") {
		return 0
	}
	asked := 0
	for name, url := range p.urls {
		for _, authorization := range []string{"", "Bearer wrong"} {
			status := p.call(t, url+"/"+string(m.Parent().FullName())+"/"+string(m.Name()), authorization, m.IsStreamingClient() || m.IsStreamingServer())
			if status == http.StatusNotFound {
				continue
			}
			asked++
			require.Equal(t, http.StatusUnauthorized, status, "%s of the %s", m.FullName(), name)
		}
	}
	return asked
}

func (p *localPoco) post(t *testing.T, url, authorization string) int {
	t.Helper()
	return p.call(t, url, authorization, false)
}

// call returns the status of a call, or for a stream the one that its error stands
// for.
func (p *localPoco) call(t *testing.T, url, authorization string, stream bool) int {
	t.Helper()
	body, contentType := "{}", "application/json"
	if stream {
		body, contentType = "\x00\x00\x00\x00\x02{}", "application/connect+json"
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", contentType)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := testkit.HTTP2(t).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if stream && bytes.Contains(answer, []byte(`"code":"unauthenticated"`)) {
		return http.StatusUnauthorized
	}
	return response.StatusCode
}
