package terminal_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

var update = flag.Bool("update", false, "write the golden files anew")

// transcript reads what a watch brought, a message a line.
func transcript(t *testing.T, path string) []*backendv1.WatchSessionResponse {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	var messages []*backendv1.WatchSessionResponse
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		message := &backendv1.WatchSessionResponse{}
		require.NoError(t, protojson.Unmarshal(scanner.Bytes(), message), "%s", scanner.Text())
		messages = append(messages, message)
	}
	require.NoError(t, scanner.Err())
	return messages
}

func render(t *testing.T, messages []*backendv1.WatchSessionResponse, opts terminal.Options) string {
	t.Helper()
	var out bytes.Buffer
	renderer := terminal.NewRenderer(&out, opts)
	for _, message := range messages {
		if message.GetPartial() != nil {
			require.NoError(t, renderer.Partial(message.GetPartial()))
		} else {
			require.NoError(t, renderer.Event(message.GetEvent()))
		}
	}
	return out.String()
}

func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.jsonl")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".jsonl")
		messages := transcript(t, path)
		for look, opts := range map[string]terminal.Options{
			"plain": {},
			"live":  {Live: true, Color: true, ShowPrompts: true, Width: 80},
		} {
			t.Run(name+"/"+look, func(t *testing.T) {
				got := render(t, messages, opts)
				golden := filepath.Join("testdata", name+"."+look+".golden")
				if *update {
					require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
				}
				want, err := os.ReadFile(golden)
				require.NoError(t, err)
				require.Equal(t, string(want), got)
			})
		}
	}
}

func TestPlainOutputHasNoEscapes(t *testing.T) {
	got := render(t, transcript(t, "testdata/trouble.jsonl"), terminal.Options{})
	require.NotContains(t, got, "\x1b")
	require.NotContains(t, got, "title")
}

func TestLiveTextIsNotShownTwice(t *testing.T) {
	got := render(t, transcript(t, "testdata/trouble.jsonl"), terminal.Options{Live: true})
	require.Equal(t, 1, strings.Count(got, "Let me think."))
	require.Equal(t, 1, strings.Count(got, "Hello world, the rest"))
	require.Equal(t, 1, strings.Count(got, "RED"))
	require.Contains(t, got, "The beginning, then the end of it.", "lost pieces: shown whole")
	require.NotContains(t, got, "late piece")
	require.NotContains(t, got, "after the end")
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestOutputThatIsGoneIsTold(t *testing.T) {
	renderer := terminal.NewRenderer(closedPipe{}, terminal.Options{})
	require.Error(t, renderer.Note("x"))
}

// The counts are of all that changed, not of what the event lists.
func TestFilesThatAreNotListedCount(t *testing.T) {
	const run = "6f9c0000-0000-4000-8000-000000000001"
	event := func(payload *backendv1.EventPayload) *backendv1.WatchSessionResponse {
		return &backendv1.WatchSessionResponse{Kind: &backendv1.WatchSessionResponse_Event{Event: &backendv1.SessionEvent{RunId: run, Payload: payload}}}
	}
	shown := render(t, []*backendv1.WatchSessionResponse{
		event(&backendv1.EventPayload{Kind: &backendv1.EventPayload_FilesChanged{FilesChanged: &backendv1.FilesChanged{
			Files:      []*backendv1.FileChange{{Path: "a"}, {Path: "b"}},
			TotalFiles: 1500, TotalAdditions: 1500, Truncated: true,
		}}}),
		event(&backendv1.EventPayload{Kind: &backendv1.EventPayload_RunStatusChanged{RunStatusChanged: &backendv1.RunStatusChanged{
			Status: backendv1.RunStatus_RUN_STATUS_COMPLETED,
		}}}),
	}, terminal.Options{})
	require.Contains(t, shown, "1500 files changed, +1500")
	require.Contains(t, shown, "and 1498 more files")
}
