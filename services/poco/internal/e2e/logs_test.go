package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// TestLogsCarryTheIDsOfARun makes every service tell all it can about one run,
// and looks whether each line about it has the ids under the same keys.
func TestLogsCarryTheIDsOfARun(t *testing.T) {
	s := newStack(t, stackOptions{})
	logs := map[string]*output.Buffer{"backend": {}, "manager": {}}
	for _, p := range []*program{s.backend, s.manager} {
		p.log = logs[p.name]
		p.env["LOG_LEVEL"], p.env["LOG_FORMAT"], p.env["ACCESS_LOG"] = "DEBUG", "json", "true"
	}
	s.backend.env["LOG_SQL"] = "true"
	s.start()
	f, session, run := s.midRun()
	executor := s.executorLog()
	s.letGo(session)
	s.requireGoneOn(f, run)
	s.manager.stop()
	s.backend.stop()

	trace := strings.ReplaceAll(run, "-", "")
	for name, log := range map[string]string{
		"backend": logs["backend"].String(), "manager": logs["manager"].String(), "executor": executor,
	} {
		messages := map[string]int{}
		for line := range strings.Lines(log) {
			if !strings.Contains(line, run) && !strings.Contains(line, trace) {
				continue
			}
			attrs := map[string]any{}
			require.NoError(t, json.Unmarshal([]byte(line), &attrs), line)
			require.Equal(t, name, attrs["service"], line)
			require.Equal(t, run, attrs["run_id"], line)
			require.Equal(t, 1, strings.Count(line, `"run_id":`), line)
			require.Equal(t, trace, attrs["trace_id"], line)
			isRead := attrs["procedure"] == "/poco.backend.v1.RunService/GetRun"
			if (attrs["msg"] == "sql" || isRead) && attrs["session_id"] == nil {
				continue // the run's session is not looked up, or not yet
			}
			require.Equal(t, session, attrs["session_id"], line)
			if procedure, ok := attrs["procedure"].(string); ok {
				messages[procedure]++
				require.NotEmpty(t, attrs["request_id"], line)
				continue
			}
			messages[attrs["msg"].(string)]++
		}
		t.Log(name, messages)
		want := map[string][]string{
			"backend":  {"/poco.queue.v1.RunQueueService/StartRun", "/poco.queue.v1.RunQueueService/AppendRunEvents", "sql"},
			"manager":  {"run started", "run ended", "workspace exported", "model call", "/poco.manager.v1.RunChannelService/Connect"},
			"executor": {"run started", "/poco.executor.v1.ExecutorService/StartRun"},
		}[name]
		for _, message := range want {
			require.Positive(t, messages[message], "%s: %s", name, message)
		}
	}
}

// executorLog is what the only executor of the process runtime has written.
func (s *stack) executorLog() string {
	s.t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.manager.env["WORKSPACE_ROOT"], ".worker", "executors", "*.log"))
	require.NoError(s.t, err)
	require.Len(s.t, paths, 1)
	text, err := os.ReadFile(paths[0])
	require.NoError(s.t, err)
	return string(text)
}

// TestLogFiles: each service has a file of its own, and one that cannot be
// written is refused at the start, by name.
func TestLogFiles(t *testing.T) {
	s := newStack(t, stackOptions{})
	dir := filepath.Join(t.TempDir(), "logs")
	for _, p := range []*program{s.backend, s.manager} {
		p.env["LOG_TO_FILE"], p.env["LOG_DIR"], p.env["LOG_LEVEL"] = "true", dir, "INFO"
	}
	s.start()
	s.manager.stop()
	s.backend.stop()
	for name, line := range map[string]string{"backend": "backend is ready", "manager": "manager serves"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".log"))
		require.NoError(t, err)
		require.Contains(t, string(text), line)
		require.NotContains(t, string(text), internalToken)
	}

	log := &output.Buffer{}
	s.backend.log, s.backend.env["LOG_DIR"] = log, filepath.Join(dir, "backend.log", "below-a-file")
	s.backend.launch()
	<-s.backend.done
	require.Equal(t, 2, s.backend.cmd.ProcessState.ExitCode())
	require.Contains(t, log.String(), "LOG_DIR")
	require.Contains(t, log.String(), "not a directory")
}

// TestNewExecutorsLogAsTheirManager: at the level that it has by then.
func TestNewExecutorsLogAsTheirManager(t *testing.T) {
	s := newStack(t, stackOptions{})
	dotEnv := filepath.Join(t.TempDir(), ".env")
	require.NoError(t, os.WriteFile(dotEnv, []byte("LOG_LEVEL=ERROR\n"), 0o600))
	delete(s.manager.env, "LOG_LEVEL")
	s.manager.env["POCO_ENV_FILE"] = dotEnv
	s.start()
	require.NoError(t, os.WriteFile(dotEnv, []byte("LOG_LEVEL=INFO\n"), 0o600))
	_, err := s.manager.config(internalToken) // which looks
	require.NoError(t, err)
	f, session, run := s.midRun()
	require.Contains(t, s.executorLog(), "level=INFO msg=\"run started\"")
	s.letGo(session)
	s.requireGoneOn(f, run)
}
