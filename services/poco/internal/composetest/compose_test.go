package composetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// tagVariable names the tag of the images under test, as .ci/images makes them.
const tagVariable = "POCO_TEST_COMPOSE_TAG"

// patience bounds each step, on a busy machine.
const patience = 3 * time.Minute

// stack is a compose stack, and a poco to use it with.
type stack struct {
	t       *testing.T
	project string
	root    string // the repository
	dir     string
	poco    string
	url     string
	token   string
}

// newStack prepares a stack on the images under test.
func newStack(t *testing.T, env map[string]string) *stack {
	t.Helper()
	tag := os.Getenv(tagVariable)
	if tag == "" {
		testkit.Missing(t, "needs images and the compose tool: run .ci/images and .ci/compose, and name the images' tag in %s", tagVariable)
	}
	root, err := filepath.Abs("../../../..")
	require.NoError(t, err)
	s := &stack{t: t, project: fmt.Sprintf("poco-test-%d", os.Getpid()), root: root, dir: t.TempDir(), poco: filepath.Join(t.TempDir(), "poco")}
	frontend := testkit.FreePort(t)
	s.url = "http://localhost:" + strconv.Itoa(frontend) + "/api/v1"
	bridge := bridgeAddress(t)
	settings := map[string]string{
		"POCO_VERSION": tag, "RUSTFS_IMAGE": "poco-s3:ci", "RUSTFS_DATA_DIR": filepath.Join(s.dir, "s3"), "WORKSPACE_ROOT": filepath.Join(s.dir, "workspaces"),
		"EXECUTOR_PUBLISH_ADDRESS": bridge, "FRONTEND_PORT": strconv.Itoa(frontend), "ANTHROPIC_AUTH_TOKEN": "any",
	}
	for _, name := range []string{"PORT", "S3_PORT", "S3_CONSOLE_PORT", "POSTGRES_PORT", "EXECUTOR_MANAGER_PORT"} {
		settings[name] = strconv.Itoa(testkit.FreePort(t))
	}
	maps.Copy(settings, env)
	s.run(exec.CommandContext(t.Context(), "go", "build", "-o", s.poco, "github.com/poco-ai/poco/services/poco"))
	begin := exec.CommandContext(t.Context(), s.poco, "config", "init")
	begin.Dir = s.dir
	s.run(begin)
	made, err := os.ReadFile(filepath.Join(s.dir, ".env"))
	require.NoError(t, err)
	s.token = regexp.MustCompile(`(?m)^CLIENT_TOKEN=(.*)$`).FindStringSubmatch(string(made))[1]
	var file strings.Builder
	file.Write(made)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&file, "%s=%s\n", name, settings[name])
	}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, ".env"), []byte(file.String()), 0o600))
	t.Cleanup(s.down)
	return s
}

func bridgeAddress(t *testing.T) string {
	t.Helper()
	engine, err := dockerengine.New()
	require.NoError(t, err)
	defer engine.Close()
	address, err := dockerengine.BridgeAddress(t.Context(), engine)
	require.NoError(t, err)
	return address.String()
}

// run runs a command to its end, which must be a good one.
func (s *stack) run(cmd *exec.Cmd) string {
	s.t.Helper()
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s\n%s", cmd, out)
	return string(out)
}

// compose runs the compose tool on the stack.
func (s *stack) compose(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), patience)
	defer cancel()
	base := []string{"compose", "--project-name", s.project, "--project-directory", s.root, "--env-file", filepath.Join(s.dir, ".env")}
	return s.run(exec.CommandContext(ctx, "docker", append(base, args...)...))
}

// down takes the stack down, and sees that nothing of it is left.
func (s *stack) down() {
	if s.t.Failed() {
		s.t.Log(s.compose("logs", "--no-color", "--tail", "200"))
	}
	s.compose("down", "--volumes", "--timeout", "30")
	label := "label=com.docker.compose.project=" + s.project
	for _, kind := range [][]string{{"ps", "--all"}, {"volume", "ls"}, {"network", "ls"}} {
		left := s.run(exec.Command("docker", append(kind, "--quiet", "--filter", label)...))
		require.Empty(s.t, left, "left of the stack: docker %s", kind)
	}
	left := s.run(exec.Command("docker", "ps", "--all", "--quiet", "--filter", "label=ai.poco.session"))
	require.Empty(s.t, left, "executors left")
}

// person is a poco that runs in the background.
type person struct {
	t    *testing.T
	out  output.Buffer
	done chan error
}

// command is a poco command at the stack's frontend.
func (s *stack) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), s.poco, append(args, "--backend", s.url)...)
	cmd.Env = append(os.Environ(), "POCO_TOKEN="+s.token)
	cmd.Dir = s.dir
	return cmd
}

func (s *stack) start(args ...string) *person {
	s.t.Helper()
	p := &person{t: s.t, done: make(chan error, 1)}
	cmd := s.command(args...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	require.NoError(s.t, cmd.Start())
	go func() { p.done <- cmd.Wait() }()
	return p
}

// await waits until the output matches, and returns the first group.
func (p *person) await(expression string) string {
	p.t.Helper()
	re := regexp.MustCompile(expression)
	var found []string
	require.Eventually(p.t, func() bool {
		found = re.FindStringSubmatch(p.out.String())
		return found != nil
	}, patience, 50*time.Millisecond, "no %q in:\n%s", expression, lazy{&p.out})
	return found[len(found)-1]
}

// lazy is the output at the time of the failure.
type lazy struct{ b *output.Buffer }

func (l lazy) String() string { return l.b.String() }

// end waits for the end of the command, with an exit code.
func (p *person) end(code int) string {
	p.t.Helper()
	select {
	case err := <-p.done:
		exit := 0
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			exit = failed.ExitCode()
		} else {
			require.NoError(p.t, err)
		}
		require.Equal(p.t, code, exit, p.out.String())
	case <-time.After(patience):
		require.Fail(p.t, "the command goes on", p.out.String())
	}
	return p.out.String()
}

// do runs a poco command to its good end.
func (s *stack) do(args ...string) string {
	s.t.Helper()
	return s.run(s.command(args...))
}

// TestTheComposeStack is a person's way through it: a task with a question, whose
// result is exported; a follow-up; each service restarted while a task waits for
// its model; a task that is canceled; and nothing is left of it afterwards.
func TestTheComposeStack(t *testing.T) {
	model, err := scriptedmodel.Start(t.Context(), "0.0.0.0:0", scriptedmodel.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	at, err := url.Parse(model.URL)
	require.NoError(t, err)
	s := newStack(t, map[string]string{"ANTHROPIC_BASE_URL": "http://" + net.JoinHostPort(dockerengine.GatewayHost, at.Port())})
	began := time.Now()
	s.compose("up", "--detach", "--wait")
	t.Logf("ready after %s", time.Since(began).Round(100*time.Millisecond))

	demo := s.start("run", "--wait-export", "[[demo]] Greet me.")
	session := demo.await(`session (\S+)`)
	s.do("answer", demo.await(`poco answer (\S+) ANSWER`), "English")
	said := demo.end(0)
	require.Contains(t, said, "completed")
	require.Contains(t, said, "workspace exported: 1 file")
	require.Contains(t, s.do("run", "--session", session, "And now? [[bash:cat greeting.sh]]"), "English")

	for _, service := range []string{"backend", "executor-manager", "frontend", "postgres", "rustfs", "docker-proxy"} {
		long := s.start("run", "--wait-export", "[[bash:echo begun-"+service+"; sleep 8; echo over]]")
		long.await("begun-" + service)
		s.compose("restart", "--timeout", "10", service)
		require.Contains(t, long.end(0), "completed", "the restart of %s", service)
	}

	endless := s.start("run", "[[bash:echo begun; sleep 600]]")
	session = endless.await(`session (\S+)`)
	endless.await("begun")
	s.do("cancel", session)
	require.Contains(t, endless.end(3), "canceled")
}

// notInTheStack are settings that a service of the stack has no use for.
var notInTheStack = map[string]bool{
	"EXECUTOR_COMMAND": true, "CLAUDE_CLI_PATH": true, "AGENTS_DIR": true, // of the process runtime
}

// TestEverySettingHasItsPlaceInTheComposeFile: what a service reads can be set for
// it in the stack.
func TestEverySettingHasItsPlaceInTheComposeFile(t *testing.T) {
	raw, err := os.ReadFile("../../../../compose.yaml")
	require.NoError(t, err)
	var file struct {
		Services map[string]struct {
			Environment map[string]string `yaml:"environment"`
		} `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal(raw, &file))
	names := map[string]string{"backend": "backend", "manager": "executor-manager", "frontend": "frontend"}
	for _, service := range schema.Services() {
		name, ok := names[service.Name]
		if !ok {
			continue
		}
		environment := file.Services[name].Environment
		known := map[string]bool{"DOCKER_HOST": true}
		for _, setting := range service.Settings() {
			for _, env := range setting.Names() {
				known[env] = true
			}
			_, set := environment[setting.Names()[0]]
			require.True(t, set || notInTheStack[setting.Names()[0]], "%s: %s", name, setting.Names()[0])
		}
		for env := range environment {
			require.True(t, known[env], "%s: %s is no setting", name, env)
		}
		delete(names, service.Name)
	}
	require.Empty(t, names)
}
