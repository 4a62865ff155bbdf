package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"
)

const (
	// maxFileSize bounds a file of settings.
	maxFileSize = 1 << 20
	// byteOrderMark begins files of some editors.
	byteOrderMark = "\uFEFF"
	// secretsFolder is where container engines mount secrets, readable for
	// everyone in the container.
	secretsFolder = "/run/secrets"

	writableByOthers   = 0o022
	writableByEveryone = 0o002
	readableByAll      = 0o004
)

var (
	errNotRegular = errors.New("not a regular file")
	errTooLarge   = errors.New("too large")
	errNotText    = errors.New("not text in UTF-8")
	errEmpty      = errors.New("empty")
)

// readRegular reads a regular file of at most 1 MiB. It looks before it opens:
// opening a FIFO or a device could block the start for ever.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = errTooLarge
	}
	return data, err
}

// fileComplaint says what is wrong with a file, and what to do when it should
// hold a secret. Not with its path: that may be a secret which was set under the
// wrong name.
func fileComplaint(err error) (message, fix string) {
	const (
		checkAccess = "check its owner and permissions"
		nameAnother = "name a file that holds the secret alone"
	)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist", "create it, or correct the path"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user", checkAccess
	case errors.Is(err, errNotRegular):
		return "is not a regular file", nameAnother
	case errors.Is(err, errTooLarge):
		return "is larger than 1 MiB", nameAnother
	case errors.Is(err, errNotText):
		return "is not text in UTF-8", nameAnother
	case errors.Is(err, errEmpty):
		return "is empty", "write the secret into it"
	default:
		return "cannot be read", checkAccess
	}
}

// readSecretFile reads the secret that a file holds alone: without a byte order
// mark and line breaks at the end, as editors and echo leave them.
func readSecretFile(path string) (string, error) {
	data, err := readRegular(path)
	if err != nil {
		return "", err
	}
	value := strings.TrimRight(strings.TrimPrefix(string(data), byteOrderMark), "\r\n")
	switch {
	case !utf8.ValidString(value):
		return "", errNotText
	case strings.TrimSpace(value) == "":
		return "", errEmpty
	}
	return value, nil
}

// exposure says who else has access to a secret's file; empty when nobody has.
func exposure(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	switch mode := info.Mode().Perm(); {
	case mode&writableByOthers != 0:
		return "can be written by others than its owner: chmod go-w the file"
	case mode&readableByAll != 0 && !inside(secretsFolder, path):
		return "can be read by everyone on this machine: chmod o-r the file"
	default:
		return ""
	}
}

// writableByAll tells whether everyone can write a file.
func writableByAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&writableByEveryone != 0
}

func inside(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}
