package e2e

import (
	"cmp"
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/db/dbtest"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/dockerengine"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// Secrets of the stack under test; the real model token must never be seen
// inside an executor.
const (
	internalToken = "internal-token-of-the-test-stack"
	modelToken    = "the-real-model-token-of-the-test"
)

// Runtimes under test.
const (
	processRuntime = "process"
	dockerRuntime  = "docker"
)

// stack is a whole Poco. Its parts are started one by one by the test that
// needs them; start starts a backend and one manager.
type stack struct {
	t       testing.TB
	runtime string
	model   *scriptedmodel.Server
	store   *objectstore.Store
	common  map[string]string
	backend *program
	manager *program

	tasks    backendv1.TaskServiceClient
	sessions backendv1.SessionServiceClient
	runs     backendv1.RunServiceClient
	inputs   backendv1.UserInputServiceClient
}

// stackOptions change a stack before it starts.
type stackOptions struct {
	runtime string
	// databaseURL replaces a database on the shared server.
	databaseURL string
	// s3 replaces the shared server.
	s3 *testkit.S3Server
	// env is added to every program's settings.
	env map[string]string
	// pace is the pause between the pieces of text the model writes.
	pace time.Duration
	// cli replaces the real CLI.
	cli string
	// scenarios are added to the model's own.
	scenarios []scriptedmodel.Scenario
}

// newStack prepares a stack; nothing runs yet but the model and the servers.
func newStack(t testing.TB, opts stackOptions) *stack {
	t.Helper()
	t.TempDir() // first, so that it is removed last: after the programs that write into it have ended
	s := &stack{t: t, runtime: opts.runtime, common: map[string]string{}}
	if s.runtime == "" {
		s.runtime = processRuntime
	}
	if opts.databaseURL == "" {
		opts.databaseURL = dbtest.Empty(t, testkit.Postgres(t))
	}
	if opts.s3 == nil {
		shared := testkit.S3(t)
		opts.s3 = &shared
	}
	var err error
	s.store, err = objectstore.New(t.Context(), opts.s3.Config, opts.s3.AccessKey, opts.s3.SecretKey)
	require.NoError(t, err)
	s.model, err = scriptedmodel.Start(context.WithoutCancel(t.Context()), "127.0.0.1:0", scriptedmodel.Options{Token: cmp.Or(opts.env["ANTHROPIC_AUTH_TOKEN"], modelToken), Pace: opts.pace, Scenarios: opts.scenarios})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.model.Close()) })

	maps.Copy(s.common, map[string]string{
		"DATABASE_URL":         opts.databaseURL,
		"SECRET_KEY":           "secret-key-of-the-test-stack",
		"INTERNAL_API_TOKEN":   internalToken,
		"S3_ENDPOINT":          opts.s3.Config.GetEndpoint(),
		"S3_ACCESS_KEY":        opts.s3.AccessKey.Reveal(),
		"S3_SECRET_KEY":        opts.s3.SecretKey.Reveal(),
		"S3_BUCKET":            opts.s3.Config.GetBucket(),
		"ANTHROPIC_BASE_URL":   s.model.URL,
		"ANTHROPIC_AUTH_TOKEN": modelToken,
	})
	maps.Copy(s.common, opts.env)
	if opts.cli != "" {
		s.common["CLAUDE_CLI_PATH"] = opts.cli
	} else if s.runtime == processRuntime {
		s.common["CLAUDE_CLI_PATH"] = realCLI(t)
	}
	s.backend = newProgram(t, "backend", s.settings("DATABASE_URL", "SECRET_KEY", "INTERNAL_API_TOKEN",
		"S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET", "WORKER_GONE_SECONDS"))
	s.backend.env["HOST"], s.backend.env["PORT"] = "127.0.0.1", strconv.Itoa(s.backend.port)
	s.manager = s.newManager()
	return s
}

func realCLI(t testing.TB) string {
	t.Helper()
	cli, err := claudecode.Find(os.Getenv(claudecode.PathSetting), "")
	if err != nil {
		testkit.Missing(t, "needs the Claude Code CLI: %v", err)
	}
	return cli
}

func (s *stack) settings(names ...string) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		if value, ok := s.common[name]; ok {
			out[name] = value
		}
	}
	return out
}

// newManager prepares a manager with a workspace root of its own.
func (s *stack) newManager() *program {
	s.t.Helper()
	env := s.settings("INTERNAL_API_TOKEN", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET",
		"ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CLI_PATH", "TASK_CLAIM_LEASE_SECONDS",
		"MAX_CONCURRENT_TASKS", "RUN_IDLE_TIMEOUT_SECONDS", "RUN_BACKGROUND_TIMEOUT_SECONDS", "USER_INPUT_TIMEOUT_SECONDS",
		"DOCKER_HOST", "EXECUTOR_IMAGE")
	m := newProgram(s.t, "manager", env)
	m.env["BACKEND_URL"] = s.backend.url()
	m.env["EXECUTOR_MANAGER_PORT"] = strconv.Itoa(m.port)
	m.env["EXECUTOR_MANAGER_HOST"], m.env["CALLBACK_BASE_URL"] = "127.0.0.1", m.url()
	m.env["WORKSPACE_ROOT"] = filepath.Join(s.t.TempDir(), "workspaces")
	m.env["EXECUTOR_RUNTIME"] = s.runtime
	m.env["EXECUTOR_COMMAND"] = filepath.Join(binDir, "poco-executor")
	m.env["EXECUTOR_STOP_GRACE_SECONDS"] = "2"
	if s.runtime == dockerRuntime {
		m.env["CALLBACK_BASE_URL"] = "http://" + net.JoinHostPort(dockerengine.GatewayHost, strconv.Itoa(m.port))
		if m.env["EXECUTOR_IMAGE"] == "" {
			s.useEngine(m)
		}
	}
	return m
}

// useEngine lets a manager be reached from containers.
func (s *stack) useEngine(m *program) {
	s.t.Helper()
	image := os.Getenv("POCO_TEST_EXECUTOR_IMAGE")
	if image == "" {
		testkit.Missing(s.t, "needs the executor image: build it with .ci/executor-image and name it in POCO_TEST_EXECUTOR_IMAGE")
	}
	engine, err := dockerengine.New()
	require.NoError(s.t, err)
	defer func(c *client.Client) { require.NoError(s.t, c.Close()) }(engine)
	if err := dockerengine.Check(s.t.Context(), engine, image); err != nil {
		testkit.Missing(s.t, "needs the executor image: %v", err)
	}
	bridge, err := dockerengine.BridgeAddress(s.t.Context(), engine)
	require.NoError(s.t, err)
	m.env["EXECUTOR_IMAGE"] = image
	m.env["EXECUTOR_MANAGER_HOST"] = "127.0.0.1," + bridge.String()
}

// start starts the backend and a manager and connects to the backend.
func (s *stack) start() *stack {
	s.t.Helper()
	s.startBackend()
	s.manager.start()
	return s
}

func (s *stack) startBackend() {
	s.t.Helper()
	s.backend.start()
	conn := s.backend.dial(config.NewSecret(s.common["CLIENT_TOKEN"]))
	s.tasks, s.sessions = backendv1.NewTaskServiceClient(conn), backendv1.NewSessionServiceClient(conn)
	s.runs, s.inputs = backendv1.NewRunServiceClient(conn), backendv1.NewUserInputServiceClient(conn)
}

// enqueue sends a prompt, in a new session when sessionID is empty.
func (s *stack) enqueue(prompt, sessionID string) (session, run string) {
	s.t.Helper()
	resp, err := s.tasks.EnqueueTask(s.t.Context(), &backendv1.EnqueueTaskRequest{Prompt: prompt, SessionId: sessionID})
	require.NoError(s.t, err)
	return resp.GetSessionId(), resp.GetRunId()
}

// run returns a run as it is now.
func (s *stack) run(id string) *backendv1.Run {
	s.t.Helper()
	resp, err := s.runs.GetRun(s.t.Context(), &backendv1.GetRunRequest{RunId: id})
	require.NoError(s.t, err)
	return resp.GetRun()
}

// session returns a session as it is now.
func (s *stack) session(id string) *backendv1.Session {
	s.t.Helper()
	resp, err := s.sessions.GetSession(s.t.Context(), &backendv1.GetSessionRequest{SessionId: id})
	require.NoError(s.t, err)
	return resp.GetSession()
}

// workspace is the folder of a session's workspace on a manager's disk.
func (s *stack) workspace(m *program, sessionID string) string {
	return filepath.Join(m.env["WORKSPACE_ROOT"], "active", "default", sessionID, "workspace")
}
