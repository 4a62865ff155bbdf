package logging

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/poco-ai/poco/services/internal/redact"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
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
	// credentials finds those of a header inside a text.
	credentials = regexp.MustCompile(`\b((?i:bearer)|Basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
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
	secret := isSecretKey(a.Key) && (!isNumber(value) || !countedKey.MatchString(a.Key))
	if secret || slices.ContainsFunc(groups, isSecretKey) {
		return slog.String(a.Key, redact.Mark)
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

// known has what isSecretKey has found. Keys are written in the code: they are
// few.
var known sync.Map

func isSecretKey(key string) bool {
	if found, ok := known.Load(key); ok {
		return found == true
	}
	found := secretKey.MatchString(key)
	known.Store(key, found)
	return found
}

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
		return parts[1] + redact.Mark
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
	if strings.ContainsAny(value, " \t\n") { // most values are one word
		value = credentials.ReplaceAllString(value, "$1 "+redact.Mark)
	}
	return value
}

// cut shortens a text at a character's start and says so.
func cut(value string) string {
	if len(value) <= maxValueLength {
		return value
	}
	head := sanitize.Head(value, maxValueLength)
	return fmt.Sprintf("%s… (%d bytes more)", head, len(value)-len(head))
}
