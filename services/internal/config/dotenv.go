package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/joho/godotenv"
)

const (
	// maxValueLines bounds a quoted value over several lines, such as a
	// certificate: a quote that is never closed must not swallow the file.
	maxValueLines = 200
	// dollar stands for $ where its expansion is not wanted: a code point for
	// private use.
	dollar = "\uE000"
)

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)
	// reference is what the parser replaces by the value of an earlier line,
	// and by nothing when there is none.
	reference = regexp.MustCompile(`(\\)?` + dollar + `\(?\{?([A-Z0-9_]+)\}?`)
	// unterminated begins the parser's error about a quote that is not closed.
	unterminated = "unterminated quoted value"
)

// dotEnv is a .env file.
type dotEnv struct {
	path   string
	values map[string]string
	// lines tells where a variable is set last.
	lines map[string]int
	// duplicates are variables that are set on several lines.
	duplicates map[string]bool
	// cut are variables whose value lost a $NAME that no earlier line sets.
	cut map[string]bool
	// malformed are the numbers of the lines that cannot be read.
	malformed []int
	// unread tells that there is a file which cannot be read.
	unread bool
}

// readDotEnv reads a .env file as far as it can be read. The complaint, empty
// when there is none, is about the file as a whole.
func readDotEnv(path string, required bool) (d *dotEnv, complaint Problem) {
	d = &dotEnv{path: path}
	data, err := readRegular(path)
	switch {
	case err == nil:
		d.parse(data)
	case errors.Is(err, fs.ErrNotExist) && !required:
	case errors.Is(err, fs.ErrNotExist):
		complaint = Problem{Env: envFileVariable, Message: "the file " + printable(path) + " does not exist", Fix: "create it, or unset " + envFileVariable}
	default:
		d.unread = true
		message, _ := fileComplaint(err)
		complaint = Problem{Where: "the file " + printable(path), Message: message, Fix: "correct that, or remove the file"}
	}
	return d, complaint
}

// parse reads statement by statement: the parser's own error would repeat a
// line of the file, and one mistake should not hide the rest.
func (d *dotEnv) parse(data []byte) {
	d.values, d.lines, d.duplicates, d.cut = map[string]string{}, map[string]int{}, map[string]bool{}, map[string]bool{}
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	lines := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	var good []string
	last := map[string]string{} // the statement by which a variable is set
	for i := 0; i < len(lines); {
		if text := strings.TrimSpace(lines[i]); text == "" || strings.HasPrefix(text, "#") {
			i++
			continue
		}
		statement, name, ok := nextStatement(lines[i:])
		if !ok {
			d.malformed = append(d.malformed, i+1)
			i++
			continue
		}
		text := strings.Join(lines[i:i+statement], "\n")
		d.duplicates[name] = d.lines[name] > 0
		d.cut[name] = losesReference(text, name, d.lines)
		d.lines[name], last[name] = i+1, text
		good = append(good, text)
		i += statement
	}
	// All at once, because a value may refer to earlier lines.
	values, err := godotenv.Unmarshal(strings.Join(good, "\n"))
	if err != nil {
		d.malformed = append(d.malformed, 1)
		return
	}
	for name, value := range values {
		if text := last[name]; strings.ContainsRune(value, unicode.ReplacementChar) && !utf8.ValidString(text) {
			// The parser has replaced what is not UTF-8. As it stands there, the loader
			// refuses it.
			values[name] = text
		}
	}
	d.values = values
}

// nextStatement returns how many lines the first statement has, and the name it
// sets.
func nextStatement(lines []string) (n int, name string, ok bool) {
	for n = 1; n <= len(lines) && n <= maxValueLines; n++ {
		values, err := godotenv.Unmarshal(strings.Join(lines[:n], "\n"))
		if err != nil && strings.HasPrefix(err.Error(), unterminated) {
			continue
		}
		if err != nil || len(values) != 1 {
			return 0, "", false
		}
		for name = range values {
			return n, name, variableName.MatchString(name)
		}
	}
	return 0, "", false
}

// losesReference tells whether the parser takes a $NAME out of the value that
// no earlier line sets: most often a secret that has a $ in it.
func losesReference(statement, name string, set map[string]int) bool {
	if !strings.Contains(statement, "$") {
		return false
	}
	expanded, err := godotenv.Unmarshal(statement)
	literal, literalErr := godotenv.Unmarshal(strings.ReplaceAll(statement, "$", dollar))
	if err != nil || literalErr != nil || strings.ReplaceAll(expanded[name], "$", dollar) == literal[name] {
		return false
	}
	for _, match := range reference.FindAllStringSubmatch(literal[name], -1) {
		if match[1] == "" && set[match[2]] == 0 {
			return true
		}
	}
	return false
}

// at names a line of the file.
func (d *dotEnv) at(line int) string { return fmt.Sprintf("line %d of %s", line, printable(d.path)) }
