package terminal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Chinese takes two cells a character.
func TestTableOfWideText(t *testing.T) {
	table := &Table{Head: []string{"NAME", "VALUE", "NOTE"}, Flexible: []bool{false, true, true}}
	table.Add(Cell{Text: "数据库"}, Cell{Text: "连接池的最大连接数。"}, Cell{Text: "x"})
	table.Add(Cell{Text: "é😀"}, Cell{Text: "a│…"}, Cell{Text: "y"})
	for width, want := range map[int]string{
		0:  "NAME    VALUE                 NOTE\n数据库  连接池的最大连接数。  x\né😀     a│…                   y\n",
		26: "NAME    VALUE         NOTE\n数据库  连接池的最…   x\né😀     a│…           y\n",
	} {
		var out strings.Builder
		require.NoError(t, table.Write(&out, width, false))
		require.Equal(t, want, out.String())
	}
}

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
