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
	oteltrace "go.opentelemetry.io/otel/trace"

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
	elsewhere := time.FixedZone("UTC+8", 8*60*60)
	d := &dailyFile{path: path, keep: 2, now: func() time.Time { return now.In(elsewhere) }}
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

func TestIDsOfARun(t *testing.T) {
	const run, session = "7a6ac4d4-4d5b-4b8e-a6d0-6d7a6f3a1b11", "s1"
	const trace = "7a6ac4d44d5b4b8ea6d06d7a6f3a1b11"
	l, out := newLogger(t, &configv1.LoggingConfig{})
	line := func(log func()) string {
		out.Reset()
		log()
		_, attrs, _ := strings.Cut(strings.TrimSpace(out.String()), "msg=m ")
		return attrs
	}
	want := "service=backend trace_id=" + trace + " run_id=" + run + " session_id=s1"
	require.Equal(t, want, line(func() { l.InfoContext(WithRun(t.Context(), run, session), "m") }))
	require.Equal(t, want, line(func() { OfRun(l.Logger, run, session).Info("m") }))
	require.Equal(t, want, line(func() { OfRun(l.Logger, run, session).InfoContext(WithRun(t.Context(), run, session), "m") }), "once")

	request := WithSubject(WithIDs(t.Context(), IDs{RequestID: "r1", TraceID: "t1"}))
	require.Equal(t, "service=backend request_id=r1 trace_id=t1", line(func() { l.InfoContext(request, "m") }))
	About(request, run, "")
	About(request, "another", session)
	require.Equal(t, "service=backend request_id=r1 trace_id=t1 run_id="+run+" session_id=s1", line(func() { l.InfoContext(request, "m") }))
	require.Equal(t, "service=backend run_id=own request_id=r1 trace_id=t1 session_id=s1",
		line(func() { l.InfoContext(request, "m", KeyRunID, "own") }))

	span, err := oteltrace.TraceIDFromHex(trace)
	require.NoError(t, err)
	traced := oteltrace.ContextWithSpanContext(request, oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: span, SpanID: oteltrace.SpanID{1}}))
	require.Contains(t, line(func() { l.InfoContext(traced, "m") }), "trace_id="+trace)
}

// TestTwoProcessesRotateOneFile: the second must not rotate the first's new file
// over the old one.
func TestTwoProcessesRotateOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backend.log")
	now := time.Now().UTC()
	yesterday := now.Format(dayFormat)
	open := func() *dailyFile {
		d := &dailyFile{path: path, keep: 2, now: func() time.Time { return now }}
		require.NoError(t, d.open())
		return d
	}
	write := func(d *dailyFile, line string) {
		_, err := d.Write([]byte(line + "\n"))
		require.NoError(t, err)
	}
	first := open()
	write(first, "1")
	second := open() // on the same day: goes on
	write(second, "2")
	now = now.Add(24 * time.Hour)
	write(first, "3")
	write(second, "4")
	require.NoError(t, first.Close())
	require.NoError(t, second.Close())
	for name, want := range map[string]string{path + "." + yesterday: "1\n2\n", path: "3\n4\n"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
	}
}
