package logging

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"github.com/poco-ai/poco/services/internal/text"
)

const (
	// redacted stands wherever a secret would have been logged.
	redacted = "[redacted]"
	// maxValueLength is where a value is cut, in bytes. Stack traces are kept.
	maxValueLength = 800
	keyStack       = "stack"
)

var (
	// secretKey are attribute keys whose values are never logged.
	secretKey = regexp.MustCompile(`(?i)token|secret|password|passwd|authorization|api_?-?key|private_?key|credential|cookie`)
	// countedKey are such keys that are numbers of model tokens, not tokens.
	countedKey = regexp.MustCompile(`(?i)(^|_)tokens$|tokens?_(count|total|limit|used)$`)
	// urlPassword finds the password of a URL inside a text.
	urlPassword = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@`)
	// bearer finds a token in the form of a header.
	bearer = regexp.MustCompile(`(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{8,}`)
)

// redact masks and cuts attributes; it is slog's ReplaceAttr. Groups are
// replaced attribute by attribute.
func redact(_ []string, a slog.Attr) slog.Attr {
	value := a.Value.Resolve()
	counted := countedKey.MatchString(a.Key) && isNumber(value)
	if secretKey.MatchString(a.Key) && !counted {
		return slog.String(a.Key, redacted)
	}
	switch value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, clean(a.Key, value.String()))
	case slog.KindAny:
		if value.Any() == nil {
			return a
		}
		switch v := value.Any().(type) {
		case error:
			return slog.String(a.Key, clean(a.Key, v.Error()))
		case *slog.Source:
			return a
		default:
			// As text, so that what is inside is cleaned as well.
			return slog.String(a.Key, clean(a.Key, fmt.Sprintf("%+v", v)))
		}
	default:
		return slog.Attr{Key: a.Key, Value: value}
	}
}

func isNumber(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindInt64, slog.KindUint64, slog.KindFloat64:
		return true
	default:
		return false
	}
}

func clean(key, value string) string {
	if key != keyStack {
		value = cut(value)
	}
	if strings.Contains(value, "://") {
		value = urlPassword.ReplaceAllString(value, "${1}***@")
	}
	return bearer.ReplaceAllString(value, "$1 "+redacted)
}

// cut shortens a text at a character's start and says so.
func cut(value string) string {
	if len(value) <= maxValueLength {
		return value
	}
	head := text.Head(value, maxValueLength)
	return fmt.Sprintf("%s… (%d bytes more)", head, len(value)-len(head))
}
