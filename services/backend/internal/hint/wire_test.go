package hint

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

func TestWire(t *testing.T) {
	var sent Set
	sent.Queue, sent.All = true, true
	sent.Session("s1", 7)
	sent.List("s1", "someone")
	sent.Delete("s2")
	sent.Worker("host name:1\n")
	text := strings.Repeat("ä€", 5000)
	lines, err := partialLines("s1", []*backendv1.PartialContent{{Delta: &backendv1.PartialContent_Text{Text: text}}})
	require.NoError(t, err)
	payloads := pack("me", append(setLines(sent), append(lines, "z what a newer backend says")...))
	require.Greater(t, len(payloads), 1)

	var got, own Set
	var read string
	for _, p := range payloads {
		require.Less(t, len(p), 8000)
		set := parse(p, "other")
		got.Merge(set)
		for _, p := range set.Partials["s1"] {
			read += p.GetText()
		}
		own.Merge(parse(p, "me"))
	}
	require.Equal(t, sent, got)
	require.Equal(t, text, read)
	require.Empty(t, own)
}
