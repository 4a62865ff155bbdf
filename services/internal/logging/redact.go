package logging

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
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
	bearer = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	// assigned finds the secret fields of a structure that was printed.
	assigned = regexp.MustCompile(`(?i)([\w-]*(?:` + secretKey.String()[len("(?i)"):] + `)[\w-]*"?\s*[:=]\s*)` +
		`(\[[^\]]*\]|"(?:[^"\\]|\\.)*"|[^\s,}\]]+)`)
	// harmless are values of such fields that count or tell whether there is one.
	harmless = regexp.MustCompile(`^(-?[0-9.]+|true|false|<nil>)$`)
)

// redactor masks what attributes show by their keys and forms, and cuts what is
// long.
type redactor struct{ secrets *secrets }

// replace is slog's ReplaceAttr. Groups, those of a LogValuer included, come
// attribute by attribute.
func (r redactor) replace(groups []string, a slog.Attr) slog.Attr {
	value := a.Value.Resolve()
	counted := countedKey.MatchString(a.Key) && isNumber(value)
	if isSecretKey(a.Key) && !counted || slices.ContainsFunc(groups, isSecretKey) {
		return slog.String(a.Key, redacted)
	}
	switch value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, r.clean(a.Key, value.String()))
	case slog.KindAny:
		switch v := value.Any().(type) {
		case nil, *slog.Source:
			return slog.Attr{Key: a.Key, Value: value}
		default:
			return slog.String(a.Key, r.clean(a.Key, printed(v)))
		}
	default:
		return slog.Attr{Key: a.Key, Value: value}
	}
}

func isSecretKey(key string) bool { return secretKey.MatchString(key) }

// printed is a value as text, so that what is inside is cleaned as well.
func printed(v any) string {
	switch v := v.(type) {
	case error:
		return v.Error()
	case []byte:
		return maskAssigned(string(v))
	case json.RawMessage:
		return maskAssigned(string(v))
	default:
		return maskAssigned(fmt.Sprintf("%+v", v))
	}
}

func maskAssigned(text string) string {
	return assigned.ReplaceAllStringFunc(text, func(field string) string {
		parts := assigned.FindStringSubmatch(field)
		if harmless.MatchString(parts[2]) {
			return field
		}
		return parts[1] + redacted
	})
}

func isNumber(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindInt64, slog.KindUint64, slog.KindFloat64:
		return true
	default:
		return false
	}
}

func (r redactor) clean(key, value string) string {
	if key != keyStack && len(value) > maxValueLength {
		// A secret that is cut in two would not be found any more.
		value = cut(r.secrets.hide(value))
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
