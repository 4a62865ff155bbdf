package hint

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

type recorder struct {
	set  Set
	text string
	all  int
}

func (r *recorder) Hint(s Set) { r.set.Merge(s) }
func (r *recorder) Partials(_ string, list []*backendv1.PartialContent) {
	for _, p := range list {
		r.text += p.GetText()
	}
}
func (r *recorder) WakeAll() { r.all++ }

func TestWire(t *testing.T) {
	var sent Set
	sent.Queue = true
	sent.Session("s1", 7)
	sent.List("s1", "someone")
	sent.Delete("s2")
	sent.Worker("host name:1\n")
	text := strings.Repeat("ä€", 5000)
	lines, err := partialLines("s1", []*backendv1.PartialContent{{Delta: &backendv1.PartialContent_Text{Text: text}}})
	require.NoError(t, err)
	payloads := pack("me", append(setLines(sent), append(lines, lineAll, "z what a newer backend says")...))
	require.Greater(t, len(payloads), 1)

	var got, own recorder
	for _, p := range payloads {
		require.Less(t, len(p), 8000)
		dispatch(p, "other", &got)
		dispatch(p, "me", &own)
	}
	require.Equal(t, sent, got.set)
	require.Equal(t, text, got.text)
	require.Equal(t, 1, got.all)
	require.Empty(t, own)
}
