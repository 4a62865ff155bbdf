package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

func newLogger(t *testing.T, cfg *configv1.LoggingConfig) (*Logger, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	l, err := New(cfg, "backend", &out)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l, &out
}

func TestRedaction(t *testing.T) {
	const mark = "s3cr3t-mark"
	for _, format := range []string{"text", "json"} {
		l, out := newLogger(t, &configv1.LoggingConfig{Format: format})
		log := l.With("api_key", mark).WithGroup("g")
		log.Info("m", "token", mark, "AUTHORIZATION", mark, "db_password", mark, "secretKey", mark,
			slog.Group("inner", "x-api-key", mark),
			"url", "postgres://u:"+mark+"@h/d",
			"error", errors.New("dial postgres://u:"+mark+"@h: Authorization: Bearer "+mark),
			"any", struct{ URL string }{"http://u:" + mark + "@h"})
		require.NotContains(t, out.String(), mark)
		require.Contains(t, out.String(), "postgres://u:***@h/d")
		out.Reset()
		log.Info("m", "input_tokens", 12, "total_tokens", "not a number "+mark)
		require.Contains(t, out.String(), "12")
		require.NotContains(t, out.String(), mark)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	l, out := newLogger(t, &configv1.LoggingConfig{})
	l.Info("m", "v", strings.Repeat("ä", 1000), "stack", strings.Repeat("s", 2000))
	require.Contains(t, out.String(), "… (1200 bytes more)")
	require.Contains(t, out.String(), strings.Repeat("s", 2000))
}

func TestLevel(t *testing.T) {
	for cfg, want := range map[*configv1.LoggingConfig]slog.Level{
		{}:                            slog.LevelInfo,
		{Debug: true}:                 slog.LevelDebug,
		{Debug: true, Level: "ERROR"}: slog.LevelError,
		{Level: "WARNING"}:            slog.LevelWarn,
	} {
		require.Equal(t, want, LevelOf(cfg))
	}
	l, out := newLogger(t, &configv1.LoggingConfig{})
	l.Debug("hidden")
	l.Level.Set(slog.LevelDebug)
	l.Debug("shown")
	require.NotContains(t, out.String(), "hidden")
	require.Contains(t, out.String(), "shown")
}

func TestIDs(t *testing.T) {
	l, out := newLogger(t, &configv1.LoggingConfig{})
	l.InfoContext(WithIDs(t.Context(), IDs{RequestID: "r1", TraceID: "t1"}), "m")
	require.Contains(t, out.String(), "service=backend request_id=r1 trace_id=t1")
}

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	l, out := newLogger(t, &configv1.LoggingConfig{ToFile: true, Dir: dir, BackupCount: 2})
	l.Info("hello")
	text, err := os.ReadFile(filepath.Join(dir, "backend.log"))
	require.NoError(t, err)
	require.Equal(t, out.String(), string(text))
}

func TestRotationAtUTCMidnight(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a[b].log")
	now := time.Date(2026, 3, 1, 23, 59, 59, 0, time.UTC)
	d := &dailyFile{path: path, keep: 2, now: func() time.Time { return now }}
	require.NoError(t, d.open())
	for day := range 5 {
		for line := range 2 {
			_, err := fmt.Fprintf(d, "day %d line %d\n", day, line)
			require.NoError(t, err)
		}
		now = now.Add(24 * time.Hour)
	}
	require.NoError(t, d.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"a[b].log", "a[b].log.2026-03-03", "a[b].log.2026-03-04"}, names)
	text, err := os.ReadFile(path + ".2026-03-04")
	require.NoError(t, err)
	require.Equal(t, "day 3 line 0\nday 3 line 1\n", string(text))

	// A file of an earlier day, left by an earlier process.
	old := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, old, old))
	require.NoError(t, d.open())
	_, err = d.Write([]byte("new\n"))
	require.NoError(t, err)
	require.NoError(t, d.Close())
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new\n", string(text))
}
