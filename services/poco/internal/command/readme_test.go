package command_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/command"
)

// TestREADMEMistake makes the mistake that the README shows, and compares the
// report.
func TestREADMEMistake(t *testing.T) {
	readme, err := os.ReadFile("../../../../README.md")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(readme), "```console\n$ ")
	require.True(t, found, "the README shows a mistake")
	block, _, _ = strings.Cut(block, "```")
	line, report, _ := strings.Cut(block, "\n")

	sources := config.Sources{Environ: []string{"POCO_DATA_DIR=" + dataDir(t)}}
	words := strings.Fields(line)
	for strings.Contains(words[0], "=") {
		sources.Environ = append(sources.Environ, words[0])
		words = words[1:]
	}
	require.Equal(t, "poco", words[0])
	var out bytes.Buffer
	code := command.Main(sources, words[1:], strings.NewReader(""), &out, &out)
	require.Equal(t, report, out.String())
	require.Equal(t, 2, code)
}
