package docker_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/docker"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest/behaviour"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is an engine with an image of the test executor.
type machine struct {
	runtimetest.Harness
	engine *client.Client
	image  string
}

// newMachine skips the test where no engine is, unless POCO_TEST_REQUIRE_ALL=1.
func newMachine(t *testing.T) machine {
	t.Helper()
	engine, err := client.New(client.FromEnv)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	if _, err := engine.Ping(t.Context(), client.PingOptions{}); err != nil {
		testkit.Missing(t, "no container engine: %v", err)
	}
	m := machine{engine: engine, image: "poco-test-executor:" + uuid.NewString()}
	m.Host, m.Listen = "host.docker.internal", "0.0.0.0"
	m.build(t, m.image, `ENTRYPOINT ["/testexecutor"]`)
	m.Open = func(t *testing.T, worker string, startTimeout time.Duration) runtime.Runtime {
		t.Helper()
		return m.open(t, docker.Config{WorkerID: worker, StartTimeout: startTimeout})
	}
	m.Workspace = func(t *testing.T) string { t.Helper(); return t.TempDir() }
	m.Kill = func(t *testing.T, e runtime.Executor) {
		t.Helper()
		_, err := engine.ContainerKill(t.Context(), e.Handle, client.ContainerKillOptions{Signal: "KILL"})
		require.NoError(t, err)
	}
	m.Leftovers = func(t *testing.T, id string) (names []string) {
		t.Helper()
		found, err := engine.ContainerList(cleanupContext(t), client.ContainerListOptions{
			All: true, Filters: make(client.Filters).Add("label", docker.LabelExecutor+"="+id),
		})
		require.NoError(t, err)
		for _, c := range found.Items {
			names = append(names, c.Names...)
		}
		return names
	}
	return m
}

func (m machine) open(t *testing.T, cfg docker.Config) *docker.Runtime {
	t.Helper()
	if cfg.WorkerID == "" {
		cfg.WorkerID = "test-" + uuid.NewString()
	}
	if cfg.Image == "" {
		cfg.Image = m.image
	}
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	rt, err := docker.New(cfg)
	require.NoError(t, err)
	return rt
}

// build makes an image that holds the test executor and nothing else.
func (m machine) build(t *testing.T, image string, changes ...string) {
	t.Helper()
	program, err := os.ReadFile(runtimetest.BuildExecutor(t))
	require.NoError(t, err)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "testexecutor", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	result, err := m.engine.ImageImport(t.Context(), client.ImageImportSource{Source: &layer, SourceName: "-"},
		image, client.ImageImportOptions{Changes: changes})
	require.NoError(t, err)
	said, err := io.ReadAll(result)
	require.NoError(t, err)
	require.NotContains(t, string(said), `"error"`)
	require.NoError(t, result.Close())
	t.Cleanup(func() {
		_, err := m.engine.ImageRemove(cleanupContext(t), image, client.ImageRemoveOptions{Force: true})
		require.NoError(t, err)
	})
}

func TestContract(t *testing.T) {
	runtimetest.Contract(t, newMachine(t).Harness)
}

// launch starts an executor and stops it at the end of the test.
func (m machine) launch(t *testing.T, cfg docker.Config, spec runtime.Spec) (*docker.Runtime, runtime.Executor) {
	t.Helper()
	rt := m.open(t, cfg)
	t.Cleanup(func() { require.NoError(t, rt.Close()) })
	e, err := rt.Launch(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rt.Stop(cleanupContext(t), e.ID, 0)) })
	return rt, e
}

func TestHardening(t *testing.T) {
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "the-real-credential")
	t.Setenv("INTERNAL_API_TOKEN", "the-internal-token")
	m := newMachine(t)
	spec := m.NewSpec(t)
	_, e := m.launch(t, docker.Config{MemoryBytes: 256 << 20, CPUs: 1.5, PidsLimit: 64}, spec)
	result, err := m.engine.ContainerInspect(t.Context(), e.Handle, client.ContainerInspectOptions{})
	require.NoError(t, err)
	c := result.Container
	host := c.HostConfig

	uid := 1000
	if os.Getuid() != 0 {
		uid = os.Getuid()
	}
	require.True(t, strings.HasPrefix(c.Config.User, fmt.Sprint(uid)+":"), c.Config.User)
	require.Equal(t, []string{"ALL"}, host.CapDrop)
	require.Empty(t, host.CapAdd)
	require.False(t, host.Privileged)
	require.Equal(t, []string{"no-new-privileges"}, host.SecurityOpt)
	require.True(t, host.ReadonlyRootfs)
	require.Contains(t, host.Tmpfs, "/tmp")
	require.Contains(t, host.Tmpfs, "/run")
	require.Contains(t, host.Tmpfs, "/home/poco")
	require.EqualValues(t, 256<<20, host.Memory)
	require.Contains(t, []int64{host.Memory, -1}, host.MemorySwap) // -1: the kernel counts no swap
	require.Equal(t, int64(1_500_000_000), host.NanoCPUs)
	require.EqualValues(t, 64, *host.PidsLimit)
	require.True(t, *host.Init)
	require.Equal(t, "json-file", host.LogConfig.Type)
	require.Equal(t, map[string]string{"max-size": "10m", "max-file": "3"}, host.LogConfig.Config)
	require.Equal(t, container.RestartPolicyDisabled, host.RestartPolicy.Name)
	require.False(t, host.AutoRemove)
	require.Empty(t, host.Binds)
	require.Empty(t, host.Devices)
	require.NotEqual(t, container.NetworkMode("host"), host.NetworkMode)
	require.Empty(t, host.PidMode)
	require.Equal(t, []string{"host.docker.internal:host-gateway"}, host.ExtraHosts)

	mounted := map[string]string{}
	for _, m := range c.Mounts {
		mounted[m.Destination] = m.Source
	}
	require.Equal(t, map[string]string{"/workspace": spec.WorkspaceDir, "/var/lib/poco": spec.StateDir}, mounted,
		"nothing else, no engine socket above all")
	for _, bindings := range host.PortBindings {
		for _, binding := range bindings {
			require.Equal(t, "127.0.0.1", binding.HostIP.String())
		}
	}
	require.Equal(t, spec.RunID, c.Config.Labels["ai.poco.run"])
	require.Equal(t, spec.SessionID, c.Config.Labels["ai.poco.session"])
	require.Equal(t, spec.ExecutorID, c.Config.Labels["ai.poco.executor"])
	require.Equal(t, "ephemeral", c.Config.Labels["ai.poco.mode"])
	require.NotEmpty(t, c.Config.Labels["ai.poco.worker"])

	everything := string(result.Raw)
	require.NotContains(t, everything, "the-real-credential")
	require.NotContains(t, everything, "the-internal-token")
	require.NotContains(t, everything, spec.Token)
}

func TestInside(t *testing.T) {
	m := newMachine(t)
	spec := m.NewSpec(t)
	_, e := m.launch(t, docker.Config{}, spec)

	user := runtimetest.Ask[[]int](t, http.MethodGet, e.Addr+"/user")
	require.NotEqual(t, 0, user[0])
	require.NotEqual(t, 0, user[1])
	for _, path := range []string{"/workspace/f", "/var/lib/poco/f", "/tmp/f", "/home/poco/f", "/run/f", "/var/tmp/f"} {
		runtimetest.Ask[string](t, http.MethodPost, e.Addr+"/write?path="+path)
	}
	require.FileExists(t, filepath.Join(spec.WorkspaceDir, "f"))
	require.FileExists(t, filepath.Join(spec.StateDir, "f"))
	for _, path := range []string{"/f", "/etc/f"} {
		said := runtimetest.AskForError(t, http.MethodPost, e.Addr+"/write?path="+path)
		require.Regexp(t, "read-only file system|permission denied|no such file", said, path)
	}
}

func TestMemoryLimit(t *testing.T) {
	m := newMachine(t)
	rt, e := m.launch(t, docker.Config{MemoryBytes: 64 << 20}, m.NewSpec(t))
	runtimetest.Post(t, e, "/hog", nil)
	exit, err := rt.Watch(t.Context(), e.ID)
	require.NoError(t, err)
	require.True(t, exit.OOMKilled, exit.String())
	require.Equal(t, 137, exit.Code)
	require.Contains(t, exit.String(), "EXECUTOR_MEMORY_MB")
}

// A container that somebody starts again has another executor in it, which was
// not launched.
func TestAContainerThatIsStartedAgain(t *testing.T) {
	m := newMachine(t)
	rt, e := m.launch(t, docker.Config{}, m.NewSpec(t))
	now := 0
	_, err := m.engine.ContainerRestart(t.Context(), e.Handle, client.ContainerRestartOptions{Timeout: &now})
	require.NoError(t, err)
	exit, err := rt.Watch(t.Context(), e.ID)
	require.NoError(t, err)
	// The engine may have told of the end before the start.
	if exit.Code != 137 {
		require.Equal(t, runtime.CodeUnknown, exit.Code, exit.String())
		require.Contains(t, exit.String(), "started again by somebody else")
	}
	require.NoError(t, rt.Stop(t.Context(), e.ID, 0))
	require.Empty(t, m.Leftovers(t, e.ID))
}

// The manager is reached through the host gateway.
func TestReachesTheHost(t *testing.T) {
	m := newMachine(t)
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("hello from the host")) // the test sees what arrives
	}))
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	defer server.Close()
	_, e := m.launch(t, docker.Config{}, m.NewSpec(t))
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	target := url.QueryEscape("http://host.docker.internal:" + port + "/")
	require.Equal(t, "hello from the host", runtimetest.Ask[string](t, http.MethodPost, e.Addr+"/fetch?url="+target))
}

// A manager that was killed while it probed leaves a container behind, which
// goes with the next probe.
func TestProbesLeaveNothing(t *testing.T) {
	m := newMachine(t)
	worker := "test-" + uuid.NewString()
	rt := m.open(t, docker.Config{WorkerID: worker})
	t.Cleanup(func() { require.NoError(t, rt.Close()) })
	_, err := m.engine.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Config: &container.Config{Image: m.image, Labels: map[string]string{docker.LabelProbe: worker}},
	})
	require.NoError(t, err)
	_, err = rt.Fetch(t.Context(), "http://127.0.0.1:1/healthz")
	require.ErrorIs(t, err, runtime.ErrUnreachable)
	require.ErrorContains(t, err, m.image)
	left, err := m.engine.ContainerList(t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", docker.LabelProbe+"="+worker),
	})
	require.NoError(t, err)
	require.Empty(t, left.Items)
	executors, err := rt.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, executors)
}

// An image whose program knows no probe says nothing about the URL.
func TestAnImageThatCannotProbe(t *testing.T) {
	m := newMachine(t)
	other := m.image + "-other"
	m.build(t, other, `ENTRYPOINT ["/testexecutor", "other"]`, "ENV "+behaviour.Var+"="+behaviour.ExitsAtStart)
	rt := m.open(t, docker.Config{Image: other})
	t.Cleanup(func() { require.NoError(t, rt.Close()) })
	_, err := rt.Fetch(t.Context(), "http://127.0.0.1:1/healthz")
	require.Error(t, err)
	require.NotErrorIs(t, err, runtime.ErrUnreachable)
	require.ErrorContains(t, err, other)
	require.ErrorContains(t, err, behaviour.LastWords)
}

// Files that were put into the workspace by root become the executor's.
func TestWorkspaceIsGivenToTheExecutor(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	m := newMachine(t)
	spec := m.NewSpec(t)
	require.NoError(t, os.MkdirAll(filepath.Join(spec.WorkspaceDir, "a", "b"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(spec.WorkspaceDir, "a", "b", "f"), nil, 0o600))
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(spec.WorkspaceDir, "link")))
	_, e := m.launch(t, docker.Config{}, spec)
	runtimetest.Ask[string](t, http.MethodPost, e.Addr+"/write?path=/workspace/a/b/f")
	info, err := os.Stat(outside)
	require.NoError(t, err)
	require.Zero(t, info.Sys().(*syscall.Stat_t).Uid, "a link's target is nobody's business")
}

func TestMissingImage(t *testing.T) {
	m := newMachine(t)
	rt := m.open(t, docker.Config{Image: "poco-no-such-image:none"})
	defer func() { require.NoError(t, rt.Close()) }()
	err := rt.Check(t.Context())
	require.ErrorIs(t, err, runtime.ErrImageMissing)
	require.ErrorContains(t, err, "poco-no-such-image:none")
	require.ErrorContains(t, err, "EXECUTOR_IMAGE")
	spec := m.NewSpec(t)
	_, err = rt.Launch(t.Context(), spec)
	require.ErrorIs(t, err, runtime.ErrImageMissing)
	require.Empty(t, m.Leftovers(t, spec.ExecutorID))
}

func TestEngineNotRunning(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "docker.sock")
	t.Setenv("DOCKER_HOST", socket)
	rt, err := docker.New(docker.Config{WorkerID: "w", Image: "poco-executor:test"})
	require.NoError(t, err)
	defer func() { require.NoError(t, rt.Close()) }()
	err = rt.Check(t.Context())
	require.ErrorIs(t, err, runtime.ErrEngineUnavailable)
	require.ErrorContains(t, err, socket)
	require.ErrorContains(t, err, "DOCKER_HOST")
	_, err = rt.Launch(t.Context(), runtime.Spec{
		ExecutorID: uuid.NewString(), RunID: "r", SessionID: "s", WorkspaceDir: t.TempDir(), StateDir: t.TempDir(), Token: "t",
	})
	require.ErrorIs(t, err, runtime.ErrEngineUnavailable)
}

// TestTheWayOut: containers get the machine's proxies and certificate
// authorities, and reach their manager without.
func TestTheWayOut(t *testing.T) {
	m := newMachine(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte("the CA"), 0o600))
	for _, name := range slices.Concat(egress.Authorities, egress.AuthorityFolders) {
		t.Setenv(name, "") // this machine may have its own
	}
	t.Setenv("https_proxy", "http://127.0.0.1:3128")
	t.Setenv("SSL_CERT_FILE", ca)
	authorities := filepath.Join(t.TempDir(), "authorities")
	_, e := m.launch(t, docker.Config{AuthoritiesDir: authorities, Direct: []string{"http://manager.example:8001"}}, m.NewSpec(t))
	result, err := m.engine.ContainerInspect(t.Context(), e.Handle, client.ContainerInspectOptions{})
	require.NoError(t, err)
	env := result.Container.Config.Env
	require.Contains(t, env, "HTTPS_PROXY=http://host.docker.internal:3128")
	require.Contains(t, env, "NO_PROXY=localhost,127.0.0.1,::1,127.0.0.0/8,manager.example")
	require.Contains(t, env, "GIT_SSL_CAINFO=/etc/poco-authorities/SSL_CERT_FILE.pem")
	for _, mount := range result.Container.Mounts {
		if mount.Destination == "/etc/poco-authorities" {
			require.False(t, mount.RW)
			copied, err := os.ReadFile(filepath.Join(mount.Source, "SSL_CERT_FILE.pem"))
			require.NoError(t, err)
			require.Equal(t, "the CA", string(copied))
			return
		}
	}
	t.Fatal("the authorities are not mounted")
}
