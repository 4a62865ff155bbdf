package localstack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// TokenPath is where the clients' token of a data folder is.
func TokenPath(dir string) string { return filepath.Join(dir, tokenFile) }

// EnsureToken returns the clients' token of a data folder, and makes it the
// first time. A token that others could read is replaced: told is then why.
func EnsureToken(dir string) (token, told string, err error) {
	path := TokenPath(dir)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", "", fmt.Errorf("look at the clients' token: %w", err)
	case !info.Mode().IsRegular():
		return "", "", fmt.Errorf("%s is no plain file: remove it, and it is made anew", path)
	case info.Mode().Perm()&0o077 != 0 || !isOwn(info):
		told = "the clients' token in " + path + " was not for its owner only: making a new one"
	default:
		if token, err = ReadToken(dir); err != nil || token != "" {
			return token, "", err
		}
		told = "the clients' token in " + path + " is empty: making a new one"
	}
	token = rand.Text() + rand.Text()
	return token, told, WriteToken(dir, token)
}

// WriteToken keeps a token for the clients of this user.
func WriteToken(dir, token string) error {
	if err := WritePrivate(TokenPath(dir), []byte(token+"\n")); err != nil {
		return fmt.Errorf("keep the clients' token: %w", err)
	}
	return nil
}

// ReadToken returns the clients' token of a data folder. The error is for people:
// it says where the token should be, and whose it is.
func ReadToken(dir string) (string, error) {
	path := TokenPath(dir)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf(`there is no token at %s: "poco up" makes it, in the data folder that --data-dir or POCO_DATA_DIR names`, path)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("the token at %s cannot be read: it is only for %s, who started this Poco", path, ownerOf(path))
	case err != nil:
		return "", fmt.Errorf("the clients' token cannot be read: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// CheckFolder refuses a data folder in which others could replace what is kept.
func CheckFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder: choose another with --data-dir", dir)
	case !isOwn(info):
		return fmt.Errorf("the data folder %s belongs to %s, who could replace the secrets in it: choose one of your own with --data-dir", dir, ownerOf(dir))
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("other users can write to the data folder %s, and could replace the secrets in it: chmod go-w %s, or choose another with --data-dir", dir, dir)
	}
	return nil
}

func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Geteuid()
}

// ownerOf names the user to whom a file belongs, or the folder that is as far as
// this user can see.
func ownerOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "its owner"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "its owner"
	}
	id := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return "the user " + u.Username
	}
	return "the user with the id " + id
}
