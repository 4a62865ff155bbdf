package sanitize

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	require.Equal(t, "grün", Text("grün"))
	require.Equal(t, "a\u2400b", Text("a\x00b"))
	require.Equal(t, "a\uFFFDb", Text("a\xed\xa0\xbdb"), "half a surrogate pair")
}

func TestHead(t *testing.T) {
	require.Equal(t, "grün", Head("grün", 5))
	require.Equal(t, "grü", Head("grün", 4))
	require.Equal(t, "gr", Head("grün", 3), "inside of ü")
	require.Empty(t, Head("ü", 1))
}
