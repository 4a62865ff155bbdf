package app

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A full disk keeps no agent from cleaning up.
func TestCleaningUpAFullDisk(t *testing.T) {
	base := t.TempDir()
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("needs to mount a file system: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(base, unix.MNT_DETACH)) })
	c := newConversation(t, filepath.Join(base, "workspace"))
	c.say("[[bash:echo kept > kept.txt]]")
	events := c.say("[[bash:head -c 60000000 /dev/zero >filled; echo full]]")
	require.Contains(t, changesOf(events).String(), "filled")
	require.Contains(t, notices(events), "changes_incomplete")

	events = c.say("[[bash:rm filled && echo cleaned >cleaned.txt]]")
	require.Contains(t, notices(events), "workspace")
	changed := changesOf(events).String()
	require.Contains(t, changed, "filled")
	require.Contains(t, changed, "+cleaned")

	events = c.say("[[bash:echo more >>kept.txt]]")
	require.Contains(t, changesOf(events).String(), "+more")
	require.NotContains(t, notices(events), "workspace")
}
