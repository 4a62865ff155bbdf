package config

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"

	"github.com/poco-ai/poco/services/internal/redact"
)

// Secret is a value that leaves the process only on purpose: it prints as
// [redacted] through fmt, slog, JSON, text and gob alike. The zero Secret is
// unset.
type Secret struct {
	// A closure, and not a string: reflection-driven printers cannot look into it.
	reveal func() string
}

// NewSecret wraps a value; the empty string gives an unset Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{reveal: func() string { return value }}
}

// Reveal returns the value itself; empty when unset.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsSet tells whether there is a value.
func (s Secret) IsSet() bool { return s.reveal != nil }

// Equal compares with a candidate in constant time, its length included. An
// unset Secret equals nothing, the empty string included.
func (s Secret) Equal(candidate string) bool {
	if !s.IsSet() {
		return false
	}
	// Comparing keyed hashes hides the length, which a plain constant-time
	// comparison does not.
	var key [sha256.Size]byte
	_, _ = rand.Read(key[:]) // never fails, see crypto/rand
	return hmac.Equal(digest(key[:], s.Reveal()), digest(key[:], candidate))
}

func digest(key []byte, value string) []byte {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(value)) // a hash never fails
	return mac.Sum(nil)
}

// String implements fmt.Stringer.
func (s Secret) String() string { return redact.Mark }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return redact.Mark }

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redact.Mark)) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redact.Mark) }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redact.Mark + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redact.Mark), nil }

// MarshalBinary implements encoding.BinaryMarshaler.
func (s Secret) MarshalBinary() ([]byte, error) { return []byte(redact.Mark), nil }

// GobEncode implements gob.GobEncoder.
func (s Secret) GobEncode() ([]byte, error) { return []byte(redact.Mark), nil }
