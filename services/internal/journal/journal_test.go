package journal_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/journal"
)

func event(seq int64, code string) *executorv1.RunEvent {
	return &executorv1.RunEvent{RunSeq: seq, Payload: &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{Code: code}}}}
}

// read returns the numbers of the events up to the end, and the end.
func read(content []byte, key journal.Key) (seqs []int64, end error) {
	r := journal.NewReader(bytes.NewReader(content), key)
	for {
		e, err := r.Next()
		if err != nil {
			return seqs, err
		}
		seqs = append(seqs, e.GetRunSeq())
	}
}

func TestJournal(t *testing.T) {
	dir, key := t.TempDir(), journal.KeyOf("pct_run.1.mac")
	w, err := journal.Create(dir, "run", 1, key)
	require.NoError(t, err)
	path := filepath.Join(dir, journal.DirName, journal.Name("run", 1))
	content := func() []byte {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		return content
	}
	require.NoError(t, w.Append(event(1, "acknowledged")))
	acknowledged := content()
	require.NoError(t, w.Reset())
	for seq := int64(2); seq < 5; seq++ {
		require.NoError(t, w.Append(event(seq, "kept")))
	}
	whole := content()
	seqs, end := read(whole, key)
	require.Equal(t, []int64{2, 3, 4}, seqs)
	require.ErrorIs(t, end, io.EOF)

	record := len(whole) / 3
	for name, c := range map[string]struct {
		content []byte
		key     journal.Key
		want    int
	}{
		"cut off":               {whole[:len(whole)-1], key, 2},
		"changed":               {bytes.Replace(whole, []byte("kept"), []byte("gone"), 1), key, 0},
		"one left out":          {append(bytes.Clone(whole[:record]), whole[2*record:]...), key, 1},
		"one said twice":        {append(bytes.Clone(whole), whole[:record]...), key, 3},
		"added":                 {append(bytes.Clone(whole), "RunFinished COMPLETED, and quite some more text than a head has"...), key, 3},
		"an earlier one added":  {append(bytes.Clone(whole), acknowledged...), key, 3},
		"another attempt's":     {whole, journal.KeyOf("pct_run.2.mac"), 0},
		"a length of 4 GiB":     {append(bytes.Clone(whole), bytes.Repeat([]byte{0xff}, 40)...), key, 3},
		"nothing but a promise": {append([]byte{3, 0, 0, 0}, bytes.Repeat([]byte{1}, 40)...), key, 0},
	} {
		seqs, end := read(c.content, c.key)
		require.Len(t, seqs, c.want, name)
		require.ErrorIs(t, end, journal.ErrDamaged, name)
	}
	require.NoError(t, w.Remove())
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	run, attempt, ok := journal.Parse(journal.Name("run", 12))
	require.True(t, ok)
	require.Equal(t, "run", run)
	require.EqualValues(t, 12, attempt)
	for _, other := range []string{"", "run.events", "run.x.events", "run.1"} {
		_, _, ok := journal.Parse(other)
		require.False(t, ok, other)
	}
}
