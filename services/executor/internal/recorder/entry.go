package recorder

import (
	"crypto/sha1" //nolint:gosec // Git's names of objects; nothing is proven by them.
	"encoding/hex"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// id is the name of an object in Git.
type id [sha1.Size]byte

func (i id) String() string { return hex.EncodeToString(i[:]) }

// Modes of files as Git writes them.
const (
	modeFile       = 0o100644
	modeExecutable = 0o100755
	modeLink       = 0o120000
	modeFolder     = 0o40000
)

// entry is a file as it was when it was read.
type entry struct {
	Mode uint32
	Size int64
	// ModTime, ChangeTime and Inode tell without reading whether it is the same.
	ModTime, ChangeTime int64
	Inode               uint64
	ID                  id
	// Kept says that its content is among the recorder's objects.
	Kept bool
	// Binary is what Git takes for no text.
	Binary bool
	// Settled says that it had rested for a while: a change in the same instant
	// would not show in its times.
	Settled bool
}

// settleTime is far above the resolution of a file system's times.
const settleTime = int64(2 * time.Second)

// describe is what is known about a file without reading it.
func describe(st *unix.Stat_t, now time.Time) entry {
	e := entry{
		Mode: modeFile, Size: st.Size, Inode: st.Ino,
		ModTime: st.Mtim.Nano(), ChangeTime: st.Ctim.Nano(),
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		e.Mode = modeLink
	case st.Mode&0o100 != 0:
		e.Mode = modeExecutable
	}
	e.Settled = now.UnixNano()-e.ChangeTime > settleTime
	return e
}

// sameFile tells whether e, without content, is the file that old was read from.
func (e *entry) sameFile(old *entry) bool {
	return e.Mode == old.Mode && e.Size == old.Size && e.ModTime == old.ModTime &&
		e.ChangeTime == old.ChangeTime && e.Inode == old.Inode && old.Settled
}

// unread names a file's content by what is known without reading it.
func (e *entry) unread() id {
	return sum("unread", fmt.Appendf(nil, "%d %d %d", e.Inode, e.Size, e.ModTime))
}

// sum is the name that Git gives to an object.
func sum(kind string, content []byte) id {
	h := sha1.New() //nolint:gosec // As above.
	fmt.Fprintf(h, "%s %d\x00", kind, len(content))
	h.Write(content)
	return id(h.Sum(nil))
}

// listing is a workspace at one moment.
type listing struct {
	// RunID is the run that began with it.
	RunID string
	// Files by path below the workspace, separated by slashes.
	Files map[string]entry
	// Problems are what could not be recorded and why, by path.
	Problems map[string]string
}

// kindOf names what is no file to record.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "it is a named pipe"
	case mode&fs.ModeSocket != 0:
		return "it is a socket"
	default:
		return "it is a device"
	}
}

// parseID reads what String writes.
func parseID(text string) id {
	var i id
	if raw, err := hex.DecodeString(text); err == nil {
		copy(i[:], raw)
	}
	return i
}
