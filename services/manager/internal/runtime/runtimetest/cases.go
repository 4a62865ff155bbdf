package runtimetest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest/behaviour"
)

// launchTimeout is how long a launch that must fail may wait for its executor.
const launchTimeout = 500 * time.Millisecond

func answers(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	require.NoError(t, rt.Check(timeout(t)))
	before := time.Now()
	spec := h.NewSpec(t)
	var found []runtime.Executor
	var listErr error
	spec.Launched = func() { found, listErr = rt.List(t.Context(), "") }
	e := h.launch(t, rt, worker, spec)
	requireHealthy(t, e)
	require.NoError(t, listErr)
	require.Len(t, found, 1, "the executor is found once it is said to be launched")
	require.Equal(t, spec.ExecutorID, found[0].ID)
	require.Equal(t, spec.ExecutorID, e.ID)
	require.Equal(t, spec.RunID, e.RunID)
	require.Equal(t, spec.SessionID, e.SessionID)
	require.Equal(t, spec.UserID, e.UserID)
	require.Equal(t, spec.WorkspaceDir, e.WorkspaceDir)
	require.Equal(t, runtime.ModeEphemeral, e.Mode)
	require.NotEmpty(t, e.Handle)
	require.True(t, e.Alive)
	require.WithinRange(t, e.StartedAt, before.Add(-2*time.Second), time.Now().Add(2*time.Second))
}

func stops(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	e := h.launch(t, rt, worker, h.NewSpec(t))
	waiting := watch(timeout(t), rt, e.ID)
	require.NoError(t, rt.Stop(timeout(t), e.ID, patience))
	got := <-waiting
	if got.err == nil { // else it had not begun to wait
		require.Equal(t, 0, got.exit.Code, got.exit.String())
		require.Contains(t, got.exit.LogTail, behaviour.Farewell)
	} else {
		require.ErrorIs(t, got.err, runtime.ErrNotFound)
	}
	require.NoError(t, rt.Stop(timeout(t), e.ID, patience))
	require.Empty(t, list(t, rt))
	require.Empty(t, h.Leftovers(t, e.ID))
	_, err := rt.Watch(timeout(t), e.ID)
	require.ErrorIs(t, err, runtime.ErrNotFound)
}

func stopsStubborn(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	e := h.launch(t, rt, worker, h.behaving(t, behaviour.Stubborn))
	started := make(chan struct{})
	waiting := make(chan outcome, 1)
	go func() {
		close(started)
		exit, err := rt.Watch(t.Context(), e.ID)
		waiting <- outcome{exit, err}
	}()
	<-started
	require.NoError(t, rt.Stop(timeout(t), e.ID, time.Second))
	got := <-waiting
	require.NoError(t, got.err)
	require.Equal(t, syscall.SIGKILL, got.exit.Signal)
	require.Equal(t, 137, got.exit.Code)
	require.Empty(t, h.Leftovers(t, e.ID))
}

func stopsUnknown(t *testing.T, h Harness) {
	rt, _ := h.open(t)
	unknown := h.NewSpec(t).ExecutorID
	require.NoError(t, rt.Stop(timeout(t), unknown, time.Second))
	_, err := rt.Watch(timeout(t), unknown)
	require.ErrorIs(t, err, runtime.ErrNotFound)
}

func tellsExit(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	e := h.launch(t, rt, worker, h.NewSpec(t))
	first, second := watch(timeout(t), rt, e.ID), watch(timeout(t), rt, e.ID)
	exitWith(t, e, 7, "that was it")
	got := <-first
	require.NoError(t, got.err)
	require.Equal(t, 7, got.exit.Code)
	require.Zero(t, got.exit.Signal)
	require.False(t, got.exit.OOMKilled)
	require.Contains(t, got.exit.LogTail, "that was it")
	require.Equal(t, got, <-second, "every watcher is told the same")

	found := list(t, rt)
	require.Len(t, found, 1, "it stays listed until it is stopped")
	require.False(t, found[0].Alive)
	require.Empty(t, found[0].Addr)
	require.NoError(t, rt.Stop(timeout(t), e.ID, 0))
	require.Empty(t, list(t, rt))
}

func tellsKill(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	e := h.launch(t, rt, worker, h.NewSpec(t))
	waiting := watch(timeout(t), rt, e.ID)
	h.Kill(t, e)
	got := <-waiting
	require.NoError(t, got.err)
	require.Equal(t, syscall.SIGKILL, got.exit.Signal)
	require.Equal(t, 137, got.exit.Code)
}

func adopts(t *testing.T, h Harness) {
	first, worker := h.open(t)
	e := h.launch(t, first, worker, h.NewSpec(t))
	require.NoError(t, first.Close())

	second := h.reopen(t, worker, 0)
	found := list(t, second)
	require.Len(t, found, 1)
	require.Equal(t, e.StartedAt.Unix(), found[0].StartedAt.Unix())
	found[0].StartedAt = e.StartedAt // engines round it
	require.Equal(t, e, found[0])
	requireHealthy(t, found[0])

	waiting := watch(timeout(t), second, e.ID)
	exitWith(t, e, 5, "adopted and ended")
	got := <-waiting
	require.NoError(t, got.err)
	require.Contains(t, []int{5, runtime.CodeUnknown}, got.exit.Code)
	require.Contains(t, got.exit.LogTail, "adopted and ended")
	require.NoError(t, second.Stop(timeout(t), e.ID, 0))
	require.Empty(t, h.Leftovers(t, e.ID))
}

func findsDead(t *testing.T, h Harness) {
	first, worker := h.open(t)
	e := h.launch(t, first, worker, h.NewSpec(t))
	waiting := watch(timeout(t), first, e.ID)
	exitWith(t, e, 9, "nobody hears me")
	require.NoError(t, (<-waiting).err)
	require.NoError(t, first.Close())

	second := h.reopen(t, worker, 0)
	found := list(t, second)
	require.Len(t, found, 1)
	require.Equal(t, e.RunID, found[0].RunID)
	exit, err := second.Watch(timeout(t), e.ID)
	require.NoError(t, err)
	require.Contains(t, []int{9, runtime.CodeUnknown}, exit.Code)
	require.Contains(t, exit.LogTail, "nobody hears me")
	require.False(t, list(t, second)[0].Alive)
	require.NoError(t, second.Stop(timeout(t), e.ID, 0))
	require.Empty(t, list(t, second))
	require.Empty(t, h.Leftovers(t, e.ID))
}

func separatesWorkers(t *testing.T, h Harness) {
	mine, worker := h.open(t)
	other, _ := h.open(t)
	e := h.launch(t, mine, worker, h.NewSpec(t))
	require.Empty(t, list(t, other))
	_, err := other.Watch(timeout(t), e.ID)
	require.ErrorIs(t, err, runtime.ErrNotFound)
	require.NoError(t, other.Stop(timeout(t), e.ID, 0))
	requireHealthy(t, e)
	require.Len(t, list(t, mine), 1)
}

func lists(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	persistent := h.NewSpec(t)
	persistent.Mode = runtime.ModePersistent
	first := h.launch(t, rt, worker, persistent)
	second := h.launch(t, rt, worker, h.NewSpec(t))
	found := list(t, rt)
	require.Len(t, found, 2)
	require.Equal(t, []string{first.ID, second.ID}, []string{found[0].ID, found[1].ID})
	require.Equal(t, runtime.ModePersistent, found[0].Mode)
	require.Equal(t, second.Addr, found[1].Addr)
}

func cleansUpExit(t *testing.T, h Harness) {
	rt, _ := h.open(t)
	spec := h.behaving(t, behaviour.ExitsAtStart)
	_, err := rt.Launch(timeout(t), spec)
	var exited *runtime.ExitedError
	require.ErrorAs(t, err, &exited)
	require.Equal(t, behaviour.StartExitCode, exited.Exit.Code)
	require.ErrorContains(t, err, behaviour.LastWords)
	require.NotContains(t, err.Error(), spec.Token)
	require.Empty(t, list(t, rt))
	require.Empty(t, h.Leftovers(t, spec.ExecutorID))
}

func cleansUpSilence(t *testing.T, h Harness) {
	_, worker := h.open(t)
	rt := h.reopen(t, worker, launchTimeout)
	spec := h.behaving(t, behaviour.Silent)
	_, err := rt.Launch(timeout(t), spec)
	require.ErrorIs(t, err, runtime.ErrStartTimeout)
	require.Empty(t, list(t, rt))
	require.Empty(t, h.Leftovers(t, spec.ExecutorID))
}

func cleansUpCancel(t *testing.T, h Harness) {
	rt, _ := h.open(t)
	spec := h.behaving(t, behaviour.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), launchTimeout)
	defer cancel()
	_, err := rt.Launch(ctx, spec)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, list(t, rt))
	require.Empty(t, h.Leftovers(t, spec.ExecutorID))

	over, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	spec = h.NewSpec(t)
	_, err = rt.Launch(over, spec)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, h.Leftovers(t, spec.ExecutorID))
}

func launchesConcurrently(t *testing.T, h Harness) {
	const executors = 4
	rt, worker := h.open(t)
	var mu sync.Mutex
	addrs := map[string]bool{}
	var group errgroup.Group
	for range executors {
		spec := h.NewSpec(t)
		group.Go(func() error {
			e, err := rt.Launch(t.Context(), spec)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			addrs[e.Addr] = true
			return nil
		})
	}
	require.NoError(t, group.Wait())
	found := list(t, rt)
	require.Len(t, found, executors)
	require.Len(t, addrs, executors)
	for _, e := range found {
		for range 2 {
			group.Go(func() error { return rt.Stop(t.Context(), e.ID, patience) })
		}
	}
	require.NoError(t, group.Wait())
	require.Empty(t, list(t, rt))
	for _, e := range found {
		require.Empty(t, h.Leftovers(t, e.ID))
	}
	_ = worker
}

func refusesSameID(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	spec := h.NewSpec(t)
	e := h.launch(t, rt, worker, spec)
	_, err := rt.Launch(timeout(t), spec)
	require.ErrorIs(t, err, runtime.ErrExists)
	requireHealthy(t, e)
}

func refusesBadSpec(t *testing.T, h Harness) {
	rt, _ := h.open(t)
	for name, spoil := range map[string]func(*runtime.Spec){
		"no id":              func(s *runtime.Spec) { s.ExecutorID = "" },
		"id with a path":     func(s *runtime.Spec) { s.ExecutorID = "../x" },
		"no run":             func(s *runtime.Spec) { s.RunID = "" },
		"no token":           func(s *runtime.Spec) { s.Token = "" },
		"relative workspace": func(s *runtime.Spec) { s.WorkspaceDir = "workspace" },
		"missing workspace":  func(s *runtime.Spec) { s.WorkspaceDir += "/missing" },
		"no state folder":    func(s *runtime.Spec) { s.StateDir = "" },
		"missing state":      func(s *runtime.Spec) { s.StateDir += "/missing" },
	} {
		spec := h.NewSpec(t)
		spoil(&spec)
		_, err := rt.Launch(timeout(t), spec)
		require.Error(t, err, name)
		require.Empty(t, list(t, rt), name)
	}
}

func fetches(t *testing.T, h Harness) {
	rt, _ := h.open(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(h.Listen, "0"))
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("this is " + r.URL.Path))
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	url := "http://" + net.JoinHostPort(h.Host, port) + "/healthz"

	answer, err := rt.Fetch(timeout(t), url)
	require.NoError(t, err)
	require.Equal(t, "this is /healthz", answer, "whatever the status")

	require.NoError(t, server.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	_, err = rt.Fetch(timeout(t), url)
	require.ErrorIs(t, err, runtime.ErrUnreachable)
	require.ErrorContains(t, err, url)
	require.Empty(t, list(t, rt), "asking launches no executor")
}

func watchEndsWithContext(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	e := h.launch(t, rt, worker, h.NewSpec(t))
	ctx, cancel := context.WithCancel(t.Context())
	waiting := watch(ctx, rt, e.ID)
	cancel()
	require.ErrorIs(t, (<-waiting).err, context.Canceled)
	requireHealthy(t, e)
}

func closes(t *testing.T, h Harness) {
	rt, worker := h.open(t)
	e := h.launch(t, rt, worker, h.NewSpec(t))
	waiting := watch(timeout(t), rt, e.ID)
	require.NoError(t, rt.Close())
	require.ErrorIs(t, (<-waiting).err, runtime.ErrClosed)
	require.NoError(t, rt.Close())
	spec := h.NewSpec(t)
	_, err := rt.Launch(timeout(t), spec)
	require.ErrorIs(t, err, runtime.ErrClosed)
	require.Empty(t, h.Leftovers(t, spec.ExecutorID))
	requireHealthy(t, e)
}
