package fleet_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/fleet"
	"github.com/poco-ai/poco/services/poco/internal/localstack"
)

// TestWhoAnswersMayBeAnybody: what is said of strangers is true, short, and does
// not repeat the token that they were shown.
func TestWhoAnswersMayBeAnybody(t *testing.T) {
	const token = "a-token-that-must-not-be-shown"
	for name, c := range map[string]struct {
		contentType, body string
		status            int
		says              string
	}{
		"nothing":   {"application/proto", "", http.StatusOK, "is no service of Poco, or an older one: check the URL"},
		"too much":  {"application/proto", strings.Repeat("x", 5<<20), http.StatusOK, "answers more than any service of Poco: check the URL"},
		"a page":    {"text/html", "<html>", http.StatusOK, `cannot be asked (invalid content-type: "text/html"; expecting "application/proto"): check the URL`},
		"too often": {"application/json", `{"code":"resource_exhausted"}`, http.StatusTooManyRequests, "has been asked too often: try again in a minute"},
		"the token": {"application/json", `{"code":"internal","message":"not ` + token + `"}`, http.StatusInternalServerError, "cannot be asked (not [redacted]): check the URL"},
		"a novel": {
			"application/json", `{"code":"internal","message":"` + strings.Repeat("é", 1<<20) + `"}`, http.StatusInternalServerError,
			"cannot be asked (" + strings.Repeat("é", 150) + "…): check the URL",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body)) // the client may have gone
			}))
			defer server.Close()
			client, targets := fleet.New(config.NewSecret(token), localstack.Local{}), []fleet.Target{{Setting: "the URL", URL: server.URL}}
			answer := client.Ask(t.Context(), targets)[0]
			require.EqualError(t, answer.Err, c.says)
			require.Nil(t, answer.Report)
			peers := client.CheckPeers(t.Context(), targets)[0]
			require.EqualError(t, peers.Err, c.says)
			require.Nil(t, peers.Report)
		})
	}
}
