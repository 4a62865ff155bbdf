package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// ownS3 starts an S3 server for one test, which may stop and start it again.
func ownS3(t *testing.T) (*embedded.S3, embedded.S3Options) {
	t.Helper()
	opts := embedded.S3Options{
		DataDir: filepath.Join(t.TempDir(), "s3"), Port: testkit.FreePort(t),
		AccessKey: rand.Text(), SecretKey: rand.Text(),
	}
	server, err := embedded.StartS3(t.Context(), opts)
	if errors.Is(err, embedded.ErrNoS3) {
		testkit.Missing(t, "needs an S3 server: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	return server, opts
}

func requireEngine(t *testing.T) {
	t.Helper()
	engine, err := dockerengine.New()
	require.NoError(t, err)
	defer engine.Close()
	if err := dockerengine.Check(t.Context(), engine, "poco-no-such-image:none"); errors.Is(err, dockerengine.ErrUnavailable) {
		testkit.Missing(t, "needs a Docker engine: %v", err)
	}
}

// engineSocket is where the engine is, as the Docker client finds it.
func engineSocket(t *testing.T) string {
	t.Helper()
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		return "/var/run/docker.sock"
	}
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		testkit.Missing(t, "needs a Docker engine on a socket, not at %s", host)
	}
	return path
}

// engineProxy is a second socket of the engine that a test can take away.
type engineProxy struct {
	t        *testing.T
	path     string
	target   string
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	serving  sync.WaitGroup
}

func newEngineProxy(t *testing.T) *engineProxy {
	t.Helper()
	requireEngine(t)
	dir, err := os.MkdirTemp("", "poco-engine-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	p := &engineProxy{t: t, path: filepath.Join(dir, "docker.sock"), target: engineSocket(t)}
	p.open()
	t.Cleanup(p.close)
	return p
}

func (p *engineProxy) host() string { return "unix://" + p.path }

func (p *engineProxy) open() {
	p.t.Helper()
	listener, err := net.Listen("unix", p.path)
	require.NoError(p.t, err)
	p.listener = listener
	p.serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			engine, err := net.Dial("unix", p.target)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, engine)
			p.mu.Unlock()
			p.serving.Go(func() { pipe(engine, client) })
			p.serving.Go(func() { pipe(client, engine) })
		}
	})
}

// pipe copies until one side is gone, and then tells the other.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.UnixConn); ok {
		_ = half.CloseWrite()
	}
}

// close takes the engine away from its clients, open connections included.
func (p *engineProxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.serving.Wait()
}

// container describes the container of a session, of which there must be one:
// its id, its description as the engine gives it, and its log.
func (s *stack) container(sessionID string) (id, description, log string) {
	s.t.Helper()
	engine, err := dockerengine.New()
	require.NoError(s.t, err)
	defer engine.Close()
	list, err := engine.ContainerList(s.t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "ai.poco.session="+sessionID),
	})
	require.NoError(s.t, err)
	require.Len(s.t, list.Items, 1)
	id = list.Items[0].ID
	inspected, err := engine.ContainerInspect(s.t.Context(), id, client.ContainerInspectOptions{})
	require.NoError(s.t, err)
	text, err := json.Marshal(inspected.Container)
	require.NoError(s.t, err)
	output, err := engine.ContainerLogs(s.t.Context(), id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	require.NoError(s.t, err)
	defer output.Close()
	logged, err := io.ReadAll(output)
	require.NoError(s.t, err)
	return id, string(text), string(logged)
}

// requireCleanContainer inspects the container of a session and returns its id.
func (s *stack) requireCleanContainer(sessionID string) string {
	s.t.Helper()
	id, description, _ := s.container(sessionID)
	for _, secret := range []string{modelToken, internalToken, s.common["S3_SECRET_KEY"], s.common["SECRET_KEY"]} {
		require.NotContains(s.t, description, secret, "a credential is in the container's description")
	}
	return id
}

// awaitContainerGone waits until the engine has removed a container.
func awaitContainerGone(t *testing.T, id string) {
	t.Helper()
	engine, err := dockerengine.New()
	require.NoError(t, err)
	defer engine.Close()
	wait := engine.ContainerWait(t.Context(), id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case <-wait.Result:
	case err := <-wait.Error:
		if !cerrdefs.IsNotFound(err) {
			require.NoError(t, err)
		}
	}
}
