package runtimetest

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Ask calls an endpoint of the test executor and returns its answer.
func Ask[T any](t *testing.T, method, url string) T {
	t.Helper()
	status, body := call(t, method, url)
	require.Equal(t, http.StatusOK, status, body)
	var v T
	require.NoError(t, json.Unmarshal([]byte(body), &v), body)
	return v
}

// AskForError calls an endpoint of the test executor that must fail and returns
// what it says.
func AskForError(t *testing.T, method, url string) string {
	t.Helper()
	status, body := call(t, method, url)
	require.Equal(t, http.StatusInternalServerError, status, body)
	return body
}

func call(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(timeout(t), method, url, nil)
	require.NoError(t, err)
	// A connection of its own: none stays open behind a leak check.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(data)
}
