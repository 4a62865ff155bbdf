package terminal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableKeepsToTheWidth(t *testing.T) {
	table := func() *Table {
		t := &Table{Head: []string{"NA\x1b[31mME", "VALUE\n", "NOTE"}, Flexible: []bool{false, true, true}}
		t.Add(Cell{Text: "A"}, Cell{Text: "a value that is\x1b[2J long", Look: Style(true).Dim}, Cell{})
		t.Add(Cell{Text: "LONGER"}, Cell{}, Cell{})
		return t
	}
	for _, c := range []struct {
		width int
		fits  bool
		want  string
	}{
		{0, true, "NAME    VALUE\nA       a value that is long\nLONGER\n"},
		{24, true, "NAME    VALUE\nA       a value that is…\nLONGER\n"},
		{10, false, "NAME    VALUE\nA       a value tha…\nLONGER\n"},
	} {
		require.Equal(t, c.fits, table().Fits(c.width), c.width)
		var out strings.Builder
		require.NoError(t, table().Write(&out, c.width, false))
		require.Equal(t, c.want, Clean(out.String()), c.width)
		require.NotContains(t, out.String(), "\x1b[31m", "the head is as little trusted")
		require.Contains(t, out.String(), "\x1b[2ma value", "the look does not count as width")
	}
}
