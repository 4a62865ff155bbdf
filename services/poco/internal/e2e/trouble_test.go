package e2e

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// TestRunsThatCannotSucceed ends each run with its own reason and a message
// that a person can act on.
func TestRunsThatCannotSucceed(t *testing.T) {
	for _, c := range []struct {
		name    string
		opts    func(*testing.T) stackOptions
		prompt  string
		prepare func(*stack)
		reason  backendv1.RunReason
		message string
	}{
		{name: "CLI missing", reason: backendv1.RunReason_RUN_REASON_AGENT_MISSING, message: "CLAUDE_CLI_PATH",
			opts: func(t *testing.T) stackOptions {
				return stackOptions{cli: filepath.Join(t.TempDir(), "no-such-claude")}
			}},
		{name: "CLI dies", reason: backendv1.RunReason_RUN_REASON_AGENT_CRASHED, message: "the fake CLI gives up", opts: withFakeCLI(cliDies)},
		{name: "CLI never answers", reason: backendv1.RunReason_RUN_REASON_AGENT_PROTOCOL_ERROR, message: "initialize", opts: withFakeCLI(cliSilent)},
		{name: "model never answers", reason: backendv1.RunReason_RUN_REASON_IDLE_TIMEOUT, message: "RUN_IDLE_TIMEOUT_SECONDS", prompt: "[[hang]]",
			opts: func(*testing.T) stackOptions {
				return stackOptions{env: map[string]string{"RUN_IDLE_TIMEOUT_SECONDS": "3"}}
			}},
		{name: "wrong model token", reason: backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, message: "ANTHROPIC_AUTH_TOKEN",
			opts:    func(*testing.T) stackOptions { return stackOptions{} },
			prepare: func(s *stack) { s.manager.env["ANTHROPIC_AUTH_TOKEN"] = "not-the-token" }},
		{name: "a firewall's page", reason: backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE, message: `HTTP 403 with a page titled "Blocked"`,
			opts: func(t *testing.T) stackOptions { return insteadOfTheModel(t, http.StatusForbidden, "") }},
		{name: "a sign-in page", reason: backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE, message: "redirect (HTTP 302) to http://login.example/",
			opts: func(t *testing.T) stackOptions {
				return insteadOfTheModel(t, http.StatusFound, "http://login.example/")
			}},
		{name: "image missing", reason: backendv1.RunReason_RUN_REASON_IMAGE_MISSING, message: "poco-no-such-image:none",
			opts: func(t *testing.T) stackOptions {
				requireEngine(t)
				return stackOptions{runtime: dockerRuntime, env: map[string]string{
					"EXECUTOR_IMAGE": "poco-no-such-image:none",
				}}
			}},
		{name: "workspace not writable", reason: backendv1.RunReason_RUN_REASON_WORKSPACE_ERROR, message: "workspace",
			opts: func(*testing.T) stackOptions { return stackOptions{} },
			prepare: func(s *stack) {
				// A file where the user's folder has to be: it stops root, too.
				active := filepath.Join(s.manager.env["WORKSPACE_ROOT"], "active")
				require.NoError(s.t, os.MkdirAll(active, 0o711))
				require.NoError(s.t, os.WriteFile(filepath.Join(active, "default"), nil, 0o600))
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStack(t, c.opts(t))
			if c.prepare != nil {
				c.prepare(s)
			}
			s.start()
			session, run := s.enqueue("Please. "+c.prompt, "")
			end := s.follow(session).awaitEnd(run)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
			require.Equal(t, c.reason, end.GetReason(), end.GetMessage())
			require.Contains(t, end.GetMessage(), c.message)
			require.Empty(t, s.session(session).GetActiveRunId())
		})
	}
}

// insteadOfTheModel answers every model call with a page.
func insteadOfTheModel(t *testing.T, status int, location string) stackOptions {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html><head><title>Blocked</title></head></html>")
	}))
	t.Cleanup(server.Close)
	return stackOptions{env: map[string]string{"ANTHROPIC_BASE_URL": server.URL}}
}

func withFakeCLI(mode string) func(*testing.T) stackOptions {
	return func(t *testing.T) stackOptions {
		cli, _ := newFakeCLI(t, mode)
		return stackOptions{cli: cli}
	}
}

// A line that is no JSON is shown once and does not end the run.
func TestCLIPrintsGarbage(t *testing.T) {
	s := newStack(t, withFakeCLI(cliGarbage)(t)).start()
	session, run := s.enqueue("Please.", "")
	f := s.follow(session)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(run).GetStatus())
	f.await("a notice", func(e *backendv1.SessionEvent) bool { return e.GetPayload().GetNotice().GetCode() == "agent_garbage" })
}

// What Postgres cannot store is replaced visibly.
func TestToolPrintsNULAndHalfASurrogate(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	session, run := s.enqueue("Print it. [[nul]]", "")
	f := s.follow(session)
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	f.awaitText("Half a surrogate: \uFFFD and a NUL: \u2400.")
	tools, err := s.sessions.ListToolExecutions(t.Context(), &backendv1.ListToolExecutionsRequest{SessionId: session})
	require.NoError(t, err)
	output := tools.GetToolExecutions()[0].GetOutput().GetFields()["content"].GetStringValue()
	require.Contains(t, output, "before")
	require.Contains(t, output, "end")
	f.requireExactlyOnce()
}

// Retries of model calls are shown while they happen.
func TestRetriesAreShown(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	session, run := s.enqueue("Try. [[overload529]]", "")
	f := s.follow(session)
	retry := f.await("a retry", func(e *backendv1.SessionEvent) bool { return e.GetPayload().GetApiRetried() != nil })
	require.EqualValues(t, 529, retry.GetPayload().GetApiRetried().GetErrorStatus())
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(run).GetStatus())
}

// The object store is away at the export: the run is completed all the same,
// the export says why it failed, and can be tried again.
func TestObjectStoreDownAtExport(t *testing.T) {
	server, opts := ownS3(t)
	s3 := testkit.S3Server{
		Config: &configv1.ObjectStoreConfig{
			Endpoint: server.Endpoint(), Bucket: "poco-e2e", Region: "us-east-1", ForcePathStyle: true, MaxAttempts: 1,
			PresignExpires: durationpb.New(time.Minute), ConnectTimeout: durationpb.New(time.Minute), ReadTimeout: durationpb.New(time.Minute),
		},
		AccessKey: config.NewSecret(opts.AccessKey), SecretKey: config.NewSecret(opts.SecretKey),
	}
	s := newStack(t, stackOptions{s3: &s3, env: map[string]string{"S3_MAX_ATTEMPTS": "1"}})
	require.NoError(t, s.store.EnsureBucket(t.Context()))
	s.start()
	f, session, run := s.midRun()
	require.NoError(t, server.Stop(t.Context()))
	s.letGo(session)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(run).GetStatus())
	failed := f.awaitExport(0)
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, failed.GetStatus())
	require.Contains(t, failed.GetReason(), server.Endpoint())
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, s.run(run).GetStatus(), "an export changes no run")

	again, err := embedded.StartS3(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, again.Stop(context.Background())) })
	seq := s.session(session).GetLastSeq()
	_, err = s.sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: session})
	require.NoError(t, err)
	ready := f.awaitExport(seq)
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, ready.GetStatus(), ready.GetReason())
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_READY, s.session(session).GetExport().GetStatus())
	require.Contains(t, s.object("workspaces/default/"+session+"/manifest.json"), `"go"`)
}

// An engine that goes away is named in the run's end; once it is back, runs
// work again.
func TestEngineNotRunning(t *testing.T) {
	engine := newEngineProxy(t)
	s := newStack(t, stackOptions{runtime: dockerRuntime, env: map[string]string{"DOCKER_HOST": engine.host()}}).start()
	engine.close()
	session, run := s.enqueue("Please. [[bash]]", "")
	f := s.follow(session)
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_FAILED, end.GetStatus())
	require.Equal(t, backendv1.RunReason_RUN_REASON_ENGINE_UNAVAILABLE, end.GetReason(), end.GetMessage())
	require.Contains(t, end.GetMessage(), engine.path)

	engine.open()
	_, next := s.enqueue("Again. [[bash]]", session)
	again := f.awaitEnd(next)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, again.GetStatus(), again.GetMessage())
}

// A run is over when nothing of it works any more: the CLI's first result may
// only be the end of its first turn.
func TestRunWaitsForWhatItStarted(t *testing.T) {
	for name, c := range map[string]struct{ prompt, says string }{
		"command":     {"[[background:sleep 3; echo built > built.txt]]", "The command in the background has ended."},
		"sub-agent":   {"[[subagent:sleep 3; echo built > built.txt]]", "The sub-agent has ended."},
		"left behind": {"[[bash:(sleep 3; echo built > built.txt) >/dev/null 2>&1 & echo started]]", "The command printed: started"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, stackOptions{}).start()
			session, run := s.enqueue(c.prompt, "")
			f := s.follow(session)
			end := f.awaitEnd(run)
			require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
			f.awaitText(c.says)
			var changed []string
			for _, e := range f.all() {
				for _, file := range e.GetPayload().GetFilesChanged().GetFiles() {
					changed = append(changed, file.GetPath())
				}
			}
			require.Contains(t, changed, "built.txt")
		})
	}
}

// What does not end is stopped after a while, and named.
func TestRunStopsWhatDoesNotEnd(t *testing.T) {
	s := newStack(t, stackOptions{env: map[string]string{"RUN_BACKGROUND_TIMEOUT_SECONDS": "1"}}).start()
	session, run := s.enqueue("[[background:exec sleep 1000]]", "")
	f := s.follow(session)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, f.awaitEnd(run).GetStatus())
	notice := f.await("a notice", func(e *backendv1.SessionEvent) bool {
		return e.GetPayload().GetNotice().GetCode() == "background_stopped"
	})
	require.Contains(t, notice.GetPayload().GetNotice().GetText(), "sleep 1000")
}

// A command that takes longer than the agent may be silent is no silence.
func TestAToolAtWorkIsNotIdle(t *testing.T) {
	s := newStack(t, stackOptions{env: map[string]string{"RUN_IDLE_TIMEOUT_SECONDS": "3"}}).start()
	session, run := s.enqueue("[[bash:sleep 5; echo awake]]", "")
	f := s.follow(session)
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	f.awaitText("The command printed: awake")
}

// No file in a workspace changes where the model is reached, whether it came
// with a repository or an earlier run wrote it.
func TestFilesDoNotMoveTheModel(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	session, run := s.enqueue(`[[bash:mkdir -p .claude; echo '{"env":{"ANTHROPIC_BASE_URL":"http://127.0.0.1:9","ANTHROPIC_UNIX_SOCKET":"/tmp/none","HTTP_PROXY":"http://127.0.0.1:9"}}' > .claude/settings.json; cp .claude/settings.json "$CLAUDE_CONFIG_DIR"/]]`, "")
	f := s.follow(session)
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	_, run = s.enqueue("And now?", session)
	end = f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
	notice := f.await("a notice", func(e *backendv1.SessionEvent) bool {
		return e.GetPayload().GetNotice().GetCode() == "project_settings_ignored"
	})
	require.Contains(t, notice.GetPayload().GetNotice().GetText(), "env.ANTHROPIC_BASE_URL in .claude/settings.json")
}

// An overload in the middle of an answer does not end the run.
func TestAnswerBreaksOff(t *testing.T) {
	s := newStack(t, stackOptions{}).start()
	session, run := s.enqueue("[[broken]]", "")
	f := s.follow(session)
	f.await("a retry", func(e *backendv1.SessionEvent) bool { return e.GetPayload().GetApiRetried() != nil })
	end := f.awaitEnd(run)
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_COMPLETED, end.GetStatus(), end.GetMessage())
}
