package logging

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/poco-ai/poco/services/internal/redact"
)

// minSecretLength is the least bytes of a secret that is looked for: a shorter
// one would take harmless words out of the log.
const minSecretLength = 6

// secrets are the texts that no line may show. They may be replaced while
// others log.
type secrets struct {
	replacer atomic.Pointer[strings.Replacer]
}

// set replaces the texts; each is looked for in every form in which it may get
// into a line.
func (s *secrets) set(values []string) {
	var all []string
	for _, value := range values {
		if len(value) >= minSecretLength {
			all = append(all, forms(value)...)
		}
	}
	// The longest first, so that none is cut by one that it begins with.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, text := range all {
		pairs = append(pairs, text, redact.Mark)
	}
	s.replacer.Store(strings.NewReplacer(pairs...))
}

// forms are a text and its encodings: those of the handlers, of URLs, and of
// credentials.
func forms(value string) []string {
	texts := []string{
		value,
		strings.Trim(strconv.Quote(value), `"`),
		inJSON(value, true),
		inJSON(value, false),
		url.QueryEscape(value),
		url.PathEscape(value),
		url.UserPassword("", value).String()[len(":"):],
		// Without padding, which depends on what follows.
		base64.RawStdEncoding.EncodeToString([]byte(value)),
		base64.RawURLEncoding.EncodeToString([]byte(value)),
		hex.EncodeToString([]byte(value)),
	}
	return append(texts, withinBase64(value)...)
}

// withinBase64 are the texts of which base64 of a longer text has one where a
// value is in it, such as that of user:password: what of the value fills whole
// groups of three bytes, which begin at any of the first three.
func withinBase64(value string) []string {
	const group = 3
	var texts []string
	for start := range group {
		whole := value[start:]
		whole = whole[:len(whole)/group*group]
		if len(whole) >= minSecretLength {
			texts = append(texts, base64.StdEncoding.EncodeToString([]byte(whole)), base64.URLEncoding.EncodeToString([]byte(whole)))
		}
	}
	return texts
}

func inJSON(value string, escapeHTML bool) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(escapeHTML)
	if err := encoder.Encode(value); err != nil {
		return value
	}
	return strings.Trim(strings.TrimSpace(b.String()), `"`)
}

// hide replaces the secrets in a text.
func (s *secrets) hide(text string) string {
	if replacer := s.replacer.Load(); replacer != nil {
		return replacer.Replace(text)
	}
	return text
}

// hiding replaces the secrets in what is written, one line at a time. It is the
// last before the log: whatever a line is made of, it passes here, what
// Logger.With has formatted before a rotation as well.
type hiding struct {
	io.Writer
	secrets *secrets
}

// Write implements io.Writer.
func (h hiding) Write(line []byte) (int, error) {
	if _, err := io.WriteString(h.Writer, h.secrets.hide(string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}
