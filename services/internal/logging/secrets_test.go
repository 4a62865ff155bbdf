package logging

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// awkward has all that an encoding may change.
const awkward = `p@ss"w\rd<&>%+/ü`

type holder struct {
	Inner *inner
	URL   string
}

type inner struct{ Value string }

type valuer struct{ secret string }

func (v valuer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("plain", v.secret), slog.Group("deeper", "value", []string{v.secret}))
}

func TestOwnSecretsAreHidden(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			l, out := newLogger(t, &configv1.LoggingConfig{Format: format})
			before := l.With("held", awkward) // formatted before it is known to be secret
			l.Hide([]string{awkward, "short", "a-longer-secret", "a-longer-secret-than-that"})
			before.Info("message with "+awkward,
				"text", "x"+awkward+"y", "error", fmt.Errorf("wrapped: %w", errors.New(awkward)),
				slog.Group("group", "value", awkward), "valuer", valuer{awkward}, "pointer", &holder{URL: awkward},
				"struct", holder{Inner: &inner{awkward}, URL: "http://h/?q=" + url.QueryEscape(awkward)},
				"bytes", []byte(awkward), "raw", json.RawMessage(fmt.Sprintf("%q", awkward)),
				"header", http.Header{"X": {awkward}}, "path", url.PathEscape(awkward),
				"base64", base64.StdEncoding.EncodeToString([]byte(awkward)), "stack", awkward+"\n"+awkward,
				"userinfo", url.UserPassword("u", awkward).String(),
				"basic 0", base64.StdEncoding.EncodeToString([]byte("usr"+awkward+"+")), "basic 1", base64.StdEncoding.EncodeToString([]byte("user"+awkward+"+")),
				"basic 2", base64.URLEncoding.EncodeToString([]byte("user:"+awkward+"+")),
				"quoted", fmt.Sprintf("%q", awkward), awkward, "as a key",
				"message", &backendv1.Run{StatusMessage: awkward},
				"long", strings.Repeat("x", maxValueLength-5)+awkward)
			slog.NewLogLogger(l.Handler(), slog.LevelInfo).Print("through log: " + awkward)
			for _, form := range forms(awkward) {
				require.NotContains(t, out.String(), form)
			}
			require.NotContains(t, out.String(), awkward[:5], "nor the beginning of one")
			out.Reset()

			l.Info("short a-longer-secret-than-that a-longer-secret")
			require.Contains(t, out.String(), "short [redacted] [redacted]")
			require.NotContains(t, out.String(), "than-that")
			if format == "json" {
				require.True(t, json.Valid(out.Bytes()))
			}
			l.Hide([]string{"another-secret"})
			out.Reset()
			l.Info("another-secret")
			require.Contains(t, out.String(), "[redacted]", "a rotated secret")
		})
	}
}

// TestSecretFieldsAreHidden: those of structures, by their names, no matter whose
// secrets they are.
func TestSecretFieldsAreHidden(t *testing.T) {
	const mark = "s3cr3t-mark"
	l, out := newLogger(t, &configv1.LoggingConfig{})
	type request struct {
		RunToken    string
		Authorized  bool
		InputTokens int
		Headers     http.Header
	}
	l.Info("m",
		"request", &request{RunToken: mark, InputTokens: 12, Headers: http.Header{"Authorization": {"Basic " + mark, mark}}},
		"proto", &executorv1.StartRunRequest{ChannelToken: mark + " and more", Prompt: "hello"},
		"body", json.RawMessage(`{"api_key":"`+mark+`","n":1}`),
		slog.Group("credentials", "user", mark),
		"header", "Authorization: Basic "+mark)
	require.NotContains(t, out.String(), mark)
	require.Contains(t, out.String(), "InputTokens:12")
	require.Contains(t, out.String(), "hello")
}

func BenchmarkLog(b *testing.B) {
	for _, hidden := range []int{0, 12} {
		b.Run(fmt.Sprintf("%d secrets", hidden), func(b *testing.B) {
			l, err := New(&configv1.LoggingConfig{Format: "json"}, "backend", io.Discard)
			require.NoError(b, err)
			values := make([]string, hidden)
			for i := range values {
				values[i] = fmt.Sprintf("%02d-%s", i, strings.Repeat("k", 30))
			}
			l.Hide(values)
			b.ReportAllocs()
			for b.Loop() {
				l.Info("run ended", KeyRunID, "7a6ac4d4-4d5b-4b8e-a6d0-6d7a6f3a1b11", "status", "COMPLETED", "duration_ms", 12.5)
			}
		})
	}
}
