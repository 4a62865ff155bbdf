package export

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxPath leaves room for the rest of an object key, which has 1024 bytes.
	maxPath = 800
	// oddNames is where files are whose path cannot be part of a key.
	oddNames = "odd_names/"
)

// storable tells whether a path can be part of an object key. S3 lists and
// deletes keys in XML 1.0, which has no control characters.
func storable(name string) bool {
	return len(name) <= maxPath && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF
	})
}

// fileKey is the key of a file: its path, or a number made of it.
func fileKey(keys Keys, name string) string {
	if storable(name) {
		return keys.Files + name
	}
	sum := sha256.Sum256([]byte(name))
	return keys.OddNames + hex.EncodeToString(sum[:])
}

// display is a path as text. What is not UTF-8 is written as \xff.
func display(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	for rest := name; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, `\x%02x`, rest[0])
		} else {
			b.WriteString(rest[:size])
		}
		rest = rest[size:]
	}
	return b.String()
}

// quoted is a path in a sentence.
func quoted(name string) string {
	text := display(name)
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// entryNames are the names of an archive's entries. A backslash is a part of a
// name here and a separator elsewhere, where it could lead out of the folder.
type entryNames map[string]bool

func (taken entryNames) of(name string) string {
	plain := archiveTop + "/" + strings.ReplaceAll(name, `\`, "_")
	entry := plain
	for n := 2; taken[entry]; n++ {
		entry = fmt.Sprintf("%s~%d", plain, n)
	}
	taken[entry] = true
	return entry
}
