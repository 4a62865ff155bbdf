package page_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/frontend/internal/page"
)

func get(t *testing.T, settings page.Settings, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	handlers, err := page.New(settings)
	require.NoError(t, err)
	mux := http.NewServeMux()
	for pattern, handler := range handlers {
		mux.Handle(pattern, handler)
	}
	request := httptest.NewRequest(http.MethodGet, path, nil)
	if header != nil {
		request.Header = header
	}
	recorder := httptest.NewRecorder()
	mux.ServeHTTP(recorder, request)
	return recorder
}

func TestPageHasOnlyFilesOfItsOwn(t *testing.T) {
	index := get(t, page.Settings{}, "/", nil)
	require.Equal(t, http.StatusOK, index.Code)
	require.Equal(t, "text/html; charset=utf-8", index.Header().Get("Content-Type"))
	require.NotContains(t, index.Header().Get("Content-Security-Policy"), "unsafe")
	require.Contains(t, index.Header().Get("Content-Security-Policy"), "script-src 'self'")
	html := index.Body.String()
	require.NotRegexp(t, `<script[^>]*>[^<]`, html, "inline script")
	require.NotRegexp(t, ` (style|on[a-z]+)=`, html, "inline style or handler")
	for _, match := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		require.Equal(t, http.StatusOK, get(t, page.Settings{}, "/"+match[1], nil).Code, match[1])
	}
}

func TestScriptsNeverBuildMarkupFromText(t *testing.T) {
	for _, name := range []string{"app.js", "api.js", "dom.js", "session.js"} {
		script := get(t, page.Settings{}, "/"+name, nil)
		require.Equal(t, http.StatusOK, script.Code)
		require.True(t, strings.HasPrefix(script.Header().Get("Content-Type"), "text/javascript"), "modules need the type")
		require.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(`, script.Body.String(), name)
	}
}

func TestConfigReachesThePage(t *testing.T) {
	settings := page.Settings{APIURL: "https://api.example/v1", SessionPollingInterval: 2500, MessagePollingInterval: 100, Version: "v1"}
	config := get(t, settings, "/config.json", nil)
	require.JSONEq(t, `{"NEXT_PUBLIC_API_URL":"https://api.example/v1","NEXT_PUBLIC_SESSION_POLLING_INTERVAL":2500,"NEXT_PUBLIC_MESSAGE_POLLING_INTERVAL":100,"version":"v1"}`, config.Body.String())
	require.Contains(t, config.Header().Get("Content-Security-Policy"), "connect-src 'self' https://api.example;")
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	first := get(t, page.Settings{}, "/app.js", nil)
	again := get(t, page.Settings{}, "/app.js", http.Header{"If-None-Match": {first.Header().Get("ETag")}})
	require.Equal(t, http.StatusNotModified, again.Code)
}
