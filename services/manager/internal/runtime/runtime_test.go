package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSpecKeepsItsToken(t *testing.T) {
	spec := runtime.Spec{ExecutorID: "e1", RunID: "r1", Token: "the-token"}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("launch", "spec", spec)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("launch", "spec", spec)
	for _, printed := range []string{
		spec.String(), logged.String(),
		fmt.Sprintf("%v", spec), fmt.Sprintf("%+v", spec), fmt.Sprintf("%#v", spec), fmt.Sprintf("%s", spec), fmt.Sprintf("%x", spec),
		fmt.Sprintf("%+v", &spec), fmt.Sprintf("%+v", []runtime.Spec{spec}),
	} {
		require.NotContains(t, printed, "the-token")
		require.Contains(t, printed, "r1")
	}
	encoded, err := json.Marshal(spec)
	require.NoError(t, err)
	require.NotContains(t, string(encoded), "the-token")
}

func TestExitTellsWhatHappened(t *testing.T) {
	for want, exit := range map[string]runtime.Exit{
		"exited with code 3":           {Code: 3},
		"ended by signal 9 (killed)":   {Code: 137, Signal: syscall.SIGKILL},
		"killed for using more memory": {Code: 137, Signal: syscall.SIGKILL, OOMKilled: true},
		"nobody saw how: it vanished":  {Code: runtime.CodeUnknown, Note: "it vanished"},
	} {
		require.Contains(t, exit.String(), want)
	}
	err := &runtime.ExitedError{Exit: runtime.Exit{Code: 1, LogTail: strings.Repeat("noise\n", 50) + "the reason\n"}}
	require.ErrorContains(t, err, "the reason")
	require.Less(t, len(err.Error()), 200)
}

func TestWaitHealthyTriesUntilItAnswers(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	require.NoError(t, runtime.WaitHealthy(t.Context(), server.URL, nil))
	require.EqualValues(t, 4, asked.Load())
}

func TestWaitHealthyEnds(t *testing.T) {
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer sick.Close()

	gone := make(chan struct{})
	close(gone)
	err := runtime.WaitHealthy(t.Context(), sick.URL, gone)
	require.True(t, runtime.IsGone(err), err)

	because := errors.New("because")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, because)
	defer cancel()
	err = runtime.WaitHealthy(ctx, sick.URL, make(chan struct{}))
	require.ErrorIs(t, err, because)
	require.ErrorContains(t, err, "503", "what was wrong last is told")
}
