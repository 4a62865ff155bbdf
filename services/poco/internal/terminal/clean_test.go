package terminal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var hostile = []struct{ name, in, want string }{
	{"colour", "\x1b[31mred\x1b[0m", "red"},
	{"title", "a\x1b]0;owned\ab", "ab"},
	{"hyperlink", "\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", "text"},
	{"device control", "\x1bPq#0\x1b\\x", "x"},
	{"clear screen", "a\x1b[2J\x1b[Hb", "ab"},
	{"C1 sequence", "a\u009b31mb", "ab"},
	{"C1 string", "a\u009d0;t\u009cb", "ab"},
	{"charset", "\x1b(0lqk", "lqk"},
	{"broken sequence does not eat the text", "\x1b[12\nnext", "\nnext"},
	{"string ended by another sequence", "\x1b]0;x\x1b[31mred", "red"},
	{"backspace and bell", "a\b\ab", "ab"},
	{"written over", "10%\r20%\r\ndone", "10%\n20%\ndone"},
	{"reordering", "a\u202eb\u2066c", "abc"},
	{"ordinary", "tab\tline\nÄ 漢 🙂", "tab\tline\nÄ 漢 🙂"},
}

func TestCleanRemovesWhatATerminalActsOn(t *testing.T) {
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, Clean(test.in)) })
	}
}

func TestCleanerKeepsItsStateBetweenPieces(t *testing.T) {
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			var cleaner Cleaner
			var got strings.Builder
			for _, r := range test.in {
				got.WriteString(cleaner.Clean(string(r)))
			}
			require.Equal(t, test.want, got.String())
		})
	}
}

func FuzzCleanLeavesNoControlCharacter(f *testing.F) {
	for _, test := range hostile {
		f.Add(test.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, r := range Clean(in) {
			require.False(t, r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0, "%q left in %q", r, in)
		}
	})
}

func TestLineIsOneShortLine(t *testing.T) {
	require.Equal(t, "a b c", Line("a\n  b\tc", 10))
	require.Equal(t, "abcd…", Line("abcdefgh", 5))
}
