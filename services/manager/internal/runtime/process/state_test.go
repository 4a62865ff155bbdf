package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCutLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "e.log")
	require.NoError(t, cutLog(path, 100, 10), "no log is no error")

	// The executor holds it open and goes on appending.
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer log.Close()
	_, err = log.WriteString(strings.Repeat("x", 95) + "12345")
	require.NoError(t, err)
	require.NoError(t, cutLog(path, 100, 10))
	require.Len(t, logTail(path), 100, "not longer than allowed")

	_, err = log.WriteString("6")
	require.NoError(t, err)
	require.NoError(t, cutLog(path, 100, 10))
	_, err = log.WriteString(" and on")
	require.NoError(t, err)
	require.Equal(t, "(the beginning of this log was cut)\nxxxx123456 and on", logTail(path))
}

func TestLogTailIsBoundedText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "e.log")
	require.Empty(t, logTail(path))
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("a", 100_000)+"\xff end"), 0o600))
	tail := logTail(path)
	require.True(t, strings.HasSuffix(tail, "\uFFFD end"), tail[len(tail)-10:])
	require.Less(t, len(tail), 20_000)
}

func TestReadStatKnowsThisProcess(t *testing.T) {
	mine, err := identity(os.Getpid())
	require.NoError(t, err)
	p, err := openProc(os.Getpid(), mine)
	require.NoError(t, err)
	p.close()
	_, err = openProc(os.Getpid(), "another")
	require.ErrorIs(t, err, errNoProcess)
	_, err = openProc(0, "")
	require.ErrorIs(t, err, errNoProcess)

	all, err := processes()
	require.NoError(t, err)
	found := false
	for _, info := range all {
		found = found || info.pid == os.Getpid() && info.parent == os.Getppid() && info.identity == mine
	}
	require.True(t, found)
}
