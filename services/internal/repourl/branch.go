package repourl

import (
	"errors"
	"strings"
	"unicode"
)

// CheckBranch tells whether git takes a name for a branch
// (git-check-ref-format). Its errors are for people.
func CheckBranch(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return errors.New("must not begin or end with a slash, or have two in a row")
		case strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock"):
			return errors.New(`must not have a part that begins with a dot or ends with ".lock"`)
		}
	}
	switch {
	case strings.HasPrefix(name, "-"):
		return errors.New("must not begin with a dash")
	case name == "@" || strings.HasSuffix(name, ".") || strings.Contains(name, "..") || strings.Contains(name, "@{"):
		return errors.New(`must not be "@", end with a dot, or have ".." or "@{" in it`)
	case strings.ContainsAny(name, ` ~^:?*[\`) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New(`must not have spaces, control characters, or any of ~ ^ : ? * [ \`)
	}
	return nil
}
