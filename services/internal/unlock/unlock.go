// Package unlock opens folders to their owner again: an agent may take the
// permissions from its own.
package unlock

import (
	"io/fs"
	"os"
	"syscall"
)

// access is what an owner needs in a folder to work in it.
const access = 0o700

// Folders opens a folder, and all below it that belong to the same user. It
// follows no link and leaves the permissions of files alone. The error is about
// the folder itself: one below that cannot be opened keeps no other from it, and
// shows when it is used.
func Folders(dir string) error {
	if err := Folder(dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(".")
	if err != nil {
		return err
	}
	below(root, owner(info))
	return nil
}

// Folder opens a folder alone. It follows no link.
func Folder(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "unlock", Path: dir, Err: syscall.ENOTDIR}
	case !locked(info):
		return nil
	}
	return os.Chmod(dir, info.Mode()|access)
}

// below opens the folders of a user in an open one. No path leads out of that,
// even when a folder becomes a link meanwhile.
func below(root *os.Root, user uint32) {
	folder, err := root.Open(".")
	if err != nil {
		return
	}
	entries, _ := folder.ReadDir(-1) // and what was read before an error
	folder.Close()
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		info, err := root.Lstat(e.Name())
		if err != nil || !info.IsDir() || owner(info) != user {
			continue
		}
		if locked(info) && root.Chmod(e.Name(), info.Mode()|access) != nil {
			continue
		}
		if child, err := root.OpenRoot(e.Name()); err == nil {
			below(child, user)
			child.Close()
		}
	}
}

func locked(info fs.FileInfo) bool { return info.Mode().Perm()&access != access }

func owner(info fs.FileInfo) uint32 {
	return info.Sys().(*syscall.Stat_t).Uid //nolint:forcetypeassert // of every file of the system
}
