package docker_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/docker"
)

// cleanupContext serves cleanups too, in which t.Context is over.
func cleanupContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// cutter stands between a runtime and the engine and can cut all connections.
type cutter struct {
	listener net.Listener
	engine   string

	mu       sync.Mutex
	conns    []net.Conn
	accepted chan struct{}
	wg       sync.WaitGroup
}

func newCutter(t *testing.T, engine string) *cutter {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "engine.sock"))
	require.NoError(t, err)
	c := &cutter{listener: listener, engine: engine, accepted: make(chan struct{}, 100)}
	c.wg.Go(c.serve)
	t.Cleanup(func() {
		_ = listener.Close() // ends serve
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) serve() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", c.engine)
		if err != nil {
			_ = near.Close() // as a dead engine would
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, near, far)
		c.mu.Unlock()
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			c.wg.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // ends by a cut
				_ = pair[0].Close()
			})
		}
		c.accepted <- struct{}{}
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // cutting is the point
	}
	c.conns = nil
}

// A watch goes on when the engine's connections break, as they do when it is
// restarted.
func TestWatchOutlastsABrokenConnection(t *testing.T) {
	m := newMachine(t)
	host, err := client.ParseHostURL(m.engine.DaemonHost())
	require.NoError(t, err)
	if host.Scheme != "unix" {
		t.Skip("the engine is not on a socket of this machine")
	}
	between := newCutter(t, host.Host+host.Path)
	t.Setenv("DOCKER_HOST", "unix://"+between.listener.Addr().String())
	rt, e := m.launch(t, docker.Config{}, m.NewSpec(t))
	type outcome struct {
		exit runtime.Exit
		err  error
	}
	result := make(chan outcome, 1)
	go func() {
		exit, err := rt.Watch(t.Context(), e.ID)
		result <- outcome{exit, err}
	}()
	for len(between.accepted) > 0 {
		<-between.accepted
	}
	between.cut()
	<-between.accepted // it has come back
	m.Kill(t, e)
	got := <-result
	require.NoError(t, got.err)
	require.Equal(t, 137, got.exit.Code)
}
