package rpcserver_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/rpcserver"
)

func TestAccessLog(t *testing.T) {
	var on atomic.Bool
	var log bytes.Buffer
	server, _ := start(t, func(o *rpcserver.Options) {
		o.Logger, o.AccessLog = slog.New(slog.NewJSONHandler(&log, nil)), on.Load
	})
	ask := func() {
		post(t, server, enqueue, `{"prompt":"hi"}`)
		post(t, server, enqueue, `{"prompt":"precondition"}`)
		get(t, server, "/healthz")
		get(t, server, "/nowhere")
	}
	ask()
	on.Store(true)
	ask()
	on.Store(false)
	ask()
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, server.Shutdown(t.Context())) // the last lines are written by then

	var lines []string
	for _, line := range bytes.Split(bytes.TrimSpace(log.Bytes()), []byte("\n")) {
		attrs := map[string]any{}
		require.NoError(t, json.Unmarshal(line, &attrs))
		require.NotEmpty(t, attrs["peer"])
		require.Positive(t, attrs["duration_ms"])
		if attrs["msg"] == "rpc" {
			lines = append(lines, attrs["procedure"].(string)+" "+attrs["code"].(string))
		} else {
			status, err := json.Marshal(attrs["status"])
			require.NoError(t, err)
			lines = append(lines, attrs["method"].(string)+" "+attrs["path"].(string)+" "+string(status))
		}
	}
	slices.Sort(lines)
	require.Equal(t, []string{
		enqueue + " failed_precondition", enqueue + " ok", "GET /healthz 200", "GET /nowhere 404",
	}, lines, "one line for each, and only while it is on")
}
