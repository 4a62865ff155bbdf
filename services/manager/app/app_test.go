package app_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	backendapp "github.com/poco-ai/poco/services/backend/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/app"
)

func TestMain(m *testing.M) {
	modes := map[string]func() error{executorArgument: serveExecutor, managerArgument: serveManager}
	if len(os.Args) > 1 && modes[os.Args[1]] != nil {
		if err := modes[os.Args[1]](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// patience bounds every wait; it is only ever reached by a bug.
const patience = time.Minute

const (
	internalToken = "internal-token-of-the-test"
	modelToken    = "model-token-of-the-test"
)

// stack is a real backend on a real Postgres, a real S3 server and a model API
// that answers every call, for managers that come and go.
type stack struct {
	t        *testing.T
	env      map[string]string
	sessions backendv1.SessionServiceClient
	tasks    backendv1.TaskServiceClient
	objects  *objectstore.Store
	root     string
	// manage starts the manager of tests that are run with several runtimes.
	manage func() service
}

func newStack(t *testing.T) *stack {
	s3 := testkit.S3(t)
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+modelToken {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, "the model's answer")
	}))
	t.Cleanup(model.Close)
	self, err := os.Executable()
	require.NoError(t, err)
	s := &stack{t: t, root: t.TempDir(), env: map[string]string{
		"S3_ENDPOINT": s3.Config.GetEndpoint(), "S3_BUCKET": s3.Config.GetBucket(),
		"S3_ACCESS_KEY": s3.AccessKey.Reveal(), "S3_SECRET_KEY": s3.SecretKey.Reveal(),
		"INTERNAL_API_TOKEN": internalToken, "SECRET_KEY": "secret-key-of-the-test",
		"DATABASE_URL":      dbtest.URL(t, testkit.Postgres(t)),
		"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": modelToken, "ANTHROPIC_BASE_URL": model.URL,
		"EXECUTOR_RUNTIME": "process", "EXECUTOR_COMMAND": self + " " + executorArgument, "CLAUDE_CLI_PATH": self,
	}}
	s.env["WORKSPACE_ROOT"] = s.root
	s.objects, err = objectstore.New(t.Context(), s3.Config, s3.AccessKey, s3.SecretKey)
	require.NoError(t, err)
	t.Cleanup(s.objects.Close)
	s.backend()
	return s
}

func (s *stack) sources() config.Sources {
	var src config.Sources
	for k, v := range s.env {
		src.Environ = append(src.Environ, k+"="+v)
	}
	return src
}

func (s *stack) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.t.Output(), nil))
}

func (s *stack) backend() {
	cfg, err := backendapp.LoadConfig(s.sources())
	require.NoError(s.t, err)
	url := s.start("backend", func(ctx context.Context, ready func(string), l net.Listener) error {
		return backendapp.Run(ctx, cfg, backendapp.Options{Logger: s.logger(), Listener: l, Ready: ready})
	}, testkit.Listener(s.t)).url
	s.env["BACKEND_URL"] = url
	conn, err := grpcclient.Dial(url, config.Secret{})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, conn.Close()) })
	s.sessions, s.tasks = backendv1.NewSessionServiceClient(conn), backendv1.NewTaskServiceClient(conn)
}

// service is a running service.
type service struct {
	url  string
	stop func()
}

func (s *stack) start(name string, run func(ctx context.Context, ready func(string), l net.Listener) error, l net.Listener) service {
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- run(ctx, func(url string) { ready <- url }, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(s.t, <-ended, name)
	})
	select {
	case url := <-ready:
		s.t.Cleanup(stop)
		return service{url, stop}
	case err := <-ended:
		cancel()
		require.FailNow(s.t, name+" did not start", "%v", err)
	case <-time.After(patience):
		cancel()
		require.FailNow(s.t, name+" was never ready")
	}
	return service{}
}

// manager starts a manager; stopExecutors as in app.Options.
func (s *stack) manager(stopExecutors bool) service {
	l := testkit.Listener(s.t)
	return s.managerOn(l, "http://"+l.Addr().String(), stopExecutors)
}

func (s *stack) managerOn(l net.Listener, callbackURL string, stopExecutors bool) service {
	s.env["CALLBACK_BASE_URL"] = callbackURL
	cfg, err := app.LoadConfig(s.sources())
	require.NoError(s.t, err)
	return s.start("manager", func(ctx context.Context, ready func(string), l net.Listener) error {
		return app.Run(ctx, cfg, app.Options{Logger: s.logger(), Listener: l, Ready: ready, StopExecutors: stopExecutors})
	}, l)
}

func (s *stack) enqueue(prompt string) (sessionID, runID string) {
	resp, err := s.tasks.EnqueueTask(s.t.Context(), &backendv1.EnqueueTaskRequest{Prompt: prompt})
	require.NoError(s.t, err)
	return resp.GetSessionId(), resp.GetRunId()
}

// await watches a session until an event is what is wanted.
func (s *stack) await(sessionID string, want func(*backendv1.EventPayload) bool) *backendv1.EventPayload {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	stream, err := s.sessions.WatchSession(ctx, &backendv1.WatchSessionRequest{SessionId: sessionID})
	require.NoError(s.t, err)
	for {
		m, err := stream.Recv()
		require.NoError(s.t, err)
		if p := m.GetEvent().GetPayload(); p != nil && want(p) {
			return p
		}
	}
}

// awaitRun waits until a run has completed.
func (s *stack) awaitRun(sessionID, runID string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	stream, err := s.sessions.WatchSession(ctx, &backendv1.WatchSessionRequest{SessionId: sessionID})
	require.NoError(s.t, err)
	for {
		m, err := stream.Recv()
		require.NoError(s.t, err)
		if m.GetEvent().GetRunId() == runID && ended(m.GetEvent().GetPayload()) {
			end := m.GetEvent().GetPayload().GetRunStatusChanged()
			require.Equal(s.t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
			return
		}
	}
}

// object reads an object.
func (s *stack) object(key string) string {
	s.t.Helper()
	body, _, err := s.objects.Get(s.t.Context(), key)
	require.NoError(s.t, err)
	defer body.Close()
	b, err := io.ReadAll(body)
	require.NoError(s.t, err)
	return string(b)
}

func begun(p *backendv1.EventPayload) bool { return p.GetNotice().GetCode() == "begun" }

func ended(p *backendv1.EventPayload) bool {
	return p.GetRunStatusChanged().GetStatus() >= backendv1.RunStatus_RUN_STATUS_COMPLETED
}

func exported(p *backendv1.EventPayload) bool {
	return p.GetExportChanged().GetStatus() >= backendv1.ExportStatus_EXPORT_STATUS_READY
}

func TestARunOnRealParts(t *testing.T) {
	s := newStack(t)
	manager := s.manager(true)
	session, _ := s.enqueue(promptWork)
	end := s.await(session, ended).GetRunStatusChanged()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	export := s.await(session, exported).GetExportChanged()
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, export.GetStatus(), export.GetReason())
	require.Equal(t, "the model's answer", s.object("workspaces/default/"+session+"/files/answer.txt"), "through the gateway, with the real token")

	t.Run("what operators see", func(t *testing.T) {
		conn, err := grpcclient.Dial(manager.url, config.NewSecret(internalToken))
		require.NoError(t, err)
		defer conn.Close()
		pool, err := managerv1.NewExecutorPoolServiceClient(conn).ListExecutors(t.Context(), &managerv1.ListExecutorsRequest{})
		require.NoError(t, err)
		require.Equal(t, "process", pool.GetRuntime())
		require.EqualValues(t, 5, pool.GetMaxRuns())
		require.Empty(t, pool.GetExecutors())
		workspaces := managerv1.NewWorkspaceServiceClient(conn)
		list, err := workspaces.ListWorkspaces(t.Context(), &managerv1.ListWorkspacesRequest{})
		require.NoError(t, err)
		require.Len(t, list.GetWorkspaces(), 1)
		require.Equal(t, session, list.GetWorkspaces()[0].GetSessionId())
		stats, err := workspaces.GetWorkspaceStats(t.Context(), &managerv1.GetWorkspaceStatsRequest{})
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.GetActiveWorkspaces())
		require.Positive(t, stats.GetDiskTotalBytes())
	})
	t.Run("wrong internal token", func(t *testing.T) {
		conn, err := grpcclient.Dial(manager.url, config.NewSecret("wrong"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = managerv1.NewExecutorPoolServiceClient(conn).ListExecutors(t.Context(), &managerv1.ListExecutorsRequest{})
		require.Equal(t, codes.Unauthenticated, status.Code(err))
	})
	t.Run("a second manager on the same folder", func(t *testing.T) {
		cfg, err := app.LoadConfig(s.sources())
		require.NoError(t, err)
		err = app.Run(t.Context(), cfg, app.Options{Logger: s.logger(), Listener: testkit.Listener(t)})
		require.ErrorContains(t, err, "another manager already uses this WORKSPACE_ROOT")
	})
}

// What would cost every run its start timeout refuses the manager's start.
func TestAManagerThatExecutorsDoNotReachDoesNotStart(t *testing.T) {
	s := newStack(t)
	backend := s.env["BACKEND_URL"]
	for name, c := range map[string]struct{ callback, says string }{
		"nobody there":    {"http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(t))), "connection refused"},
		"somebody else":   {backend, "another backend of Poco"},
		"not even Poco":   {s.env["ANTHROPIC_BASE_URL"], "not Poco"},
		"a path too many": {backend + "/api", "not Poco"},
	} {
		t.Run(name, func(t *testing.T) {
			s.env["CALLBACK_BASE_URL"] = c.callback
			cfg, err := app.LoadConfig(s.sources())
			require.NoError(t, err)
			err = app.Run(t.Context(), cfg, app.Options{Logger: s.logger(), Listener: testkit.Listener(t)})
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, c.callback)
			require.ErrorContains(t, err, "CALLBACK_BASE_URL")
		})
	}
}

func TestTheManagerIsRestartedMidRun(t *testing.T) {
	s := newStack(t)
	first := s.manager(false)
	session, _ := s.enqueue(promptWait)
	s.await(session, begun)
	listener := s.env["CALLBACK_BASE_URL"]
	first.stop()

	// The same address again, as a restart would have it.
	l, err := net.Listen("tcp", strings.TrimPrefix(listener, "http://"))
	require.NoError(t, err)
	s.managerOn(l, listener, true)
	end := s.await(session, ended).GetRunStatusChanged()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	s.await(session, exported)
	entries, err := os.ReadDir(filepath.Join(s.root, ".worker", "executors"))
	require.NoError(t, err)
	// What makes room when the disk is full belongs to no executor.
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "reserve" })
	require.Empty(t, entries, "nothing is left of the executor")
}

func TestStoppingPocoEndsItsRuns(t *testing.T) {
	s := newStack(t)
	manager := s.manager(true)
	session, _ := s.enqueue(promptWait)
	s.await(session, begun)
	manager.stop()
	end := s.await(session, ended).GetRunStatusChanged()
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_EXECUTOR_LOST, end.GetReason())
}
