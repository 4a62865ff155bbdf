package jsonschema

import (
	"regexp"
	"strings"
	"unicode"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

const (
	hostName = `[A-Za-z0-9][A-Za-z0-9._-]*`
	// ipAddress is rough: digits and letters that an address can have, and at
	// least two colons where there is one.
	ipAddress = `[0-9]+(?:\.[0-9]+){3}|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%\S+)?`
	httpHost  = `[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#,]+`
)

// formats are patterns in the dialect that ECMA 262 and RE2 have in common.
var formats = map[configv1.Format]string{
	configv1.Format_FORMAT_HTTP_URL:      httpHost + `(?:/[^?#]*)?[?#]?`,
	configv1.Format_FORMAT_ORIGIN:        httpHost + `[?#]?`,
	configv1.Format_FORMAT_HOST:          hostName + `|` + ipAddress,
	configv1.Format_FORMAT_POSTGRES_URL:  `postgres(?:ql)?(?:\+\w+)?://[\s\S]+|\w+\s*=[\s\S]*`,
	configv1.Format_FORMAT_ABSOLUTE_PATH: `/[\s\S]*`,
	configv1.Format_FORMAT_IMAGE:         `[A-Za-z0-9][A-Za-z0-9._:/@-]*`,
}

// pattern is what a text, or each text of a list, has to look like; empty when
// anything goes.
func pattern(s *schema.Setting) string {
	if p := formats[s.GetFormat()]; p != "" {
		return p
	}
	switch rules := s.TextRules(); {
	case rules.GetHostname():
		return hostName
	case rules.GetIp():
		return ipAddress
	default:
		return rules.GetPattern()
	}
}

// whole makes a pattern match the whole value, with space around it, or an empty
// value, which counts as none.
func whole(pattern string) string { return `^\s*(?:` + pattern + `)?\s*$` }

// alternatives matches words in upper and lower case.
func alternatives(words []string) string {
	patterns := make([]string, len(words))
	for i, word := range words {
		var b strings.Builder
		for _, r := range word {
			if upper, lower := unicode.ToUpper(r), unicode.ToLower(r); upper != lower {
				b.WriteString("[" + string(upper) + string(lower) + "]")
			} else {
				b.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
		patterns[i] = b.String()
	}
	return strings.Join(patterns, "|")
}
