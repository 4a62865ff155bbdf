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

// What can be wrong with a secret's file.
const (
	complaintMissing   = "does not exist"
	complaintForbidden = "may not be read by this user"
	complaintKind      = "is not a regular file"
	complaintSize      = "is larger than 1 MiB"
	complaintUnknown   = "cannot be read"
	complaintText      = "is not text in UTF-8"
	complaintEmpty     = "is empty"
)

// fileComplaint says what is wrong with a file, without its path: that may be a
// secret which was set under the wrong name.
func fileComplaint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return complaintMissing
	case errors.Is(err, fs.ErrPermission):
		return complaintForbidden
	case errors.Is(err, errNotRegular):
		return complaintKind
	case errors.Is(err, errTooLarge):
		return complaintSize
	default:
		return complaintUnknown
	}
}

// fileFix says what to do about a complaint.
func fileFix(complaint string) string {
	switch complaint {
	case complaintMissing:
		return "create it, or correct the path"
	case complaintForbidden, complaintUnknown:
		return "check its owner and permissions"
	case complaintEmpty:
		return "write the secret into it"
	default:
		return "name a file that holds the secret alone"
	}
}

// readSecretFile reads the secret that a file holds alone: without a byte order
// mark and line breaks at the end, as editors and echo leave them.
func readSecretFile(path string) (value, complaint string) {
	data, err := readRegular(path)
	if err != nil {
		return "", fileComplaint(err)
	}
	value = strings.TrimRight(strings.TrimPrefix(string(data), byteOrderMark), "\r\n")
	switch {
	case !utf8.ValidString(value):
		return "", complaintText
	case strings.TrimSpace(value) == "":
		return "", complaintEmpty
	}
	return value, ""
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
