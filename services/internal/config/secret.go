package config

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/poco-ai/poco/services/internal/redact"
)

// Secret is a value that leaves the process only on purpose: it prints as
// [redacted] through fmt, slog, JSON, text and gob alike. The zero Secret is
// unset.
type Secret struct {
	// A closure, and not a string: reflection-driven printers cannot look into it.
	look func() *values
	// refresh makes look see what may have changed; nil for what cannot change.
	refresh func()
}

// values are what a secret is and was.
type values struct {
	current string
	// digest is that of what is accepted, see OrHash.
	digest digest
	// previous are still accepted.
	previous []previous
}

type previous struct {
	digest digest
	until  time.Time
}

// NewSecret wraps a value; the empty string gives an unset Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return newSecret(&values{current: value, digest: sha256.Sum256([]byte(value))})
}

func newSecret(v *values) Secret { return Secret{look: func() *values { return v }} }

// rotated is next, with what before accepted until its grace ends. A secret that
// is not replaced but removed accepts nothing.
func rotated(before, next Secret, grace time.Duration) Secret {
	if !next.IsSet() {
		return next
	}
	now := time.Now()
	old, v := before.values(), *next.values()
	for _, p := range old.previous {
		if now.Before(p.until) {
			v.previous = append(v.previous, p)
		}
	}
	if before.IsSet() && old.current != v.current && grace > 0 {
		v.previous = append(v.previous, previous{old.digest, now.Add(grace)})
	}
	return newSecret(&v)
}

// unset are the values of an unset Secret.
var unset values

func (s Secret) values() *values {
	if s.look == nil {
		return &unset
	}
	return s.look()
}

// Reveal returns the value itself; empty when unset.
func (s Secret) Reveal() string { return s.values().current }

// IsSet tells whether there is a value.
func (s Secret) IsSet() bool { return s.Reveal() != "" }

// Equal compares with a candidate in constant time, its length included. An
// unset Secret equals nothing, the empty string included. A live one equals the
// values before it as well, for as long as its schema gives them; before it
// refuses, it looks (at most once a second) whether it has been rotated.
func (s Secret) Equal(candidate string) bool {
	if candidate == "" {
		return false
	}
	d := sha256.Sum256([]byte(candidate))
	if s.values().accept(d) {
		return true
	}
	if s.refresh == nil {
		return false
	}
	s.refresh()
	return s.values().accept(d)
}

// hashPrefix marks a value that is the hash of a secret and not itself.
const hashPrefix = "sha256:"

// Hashed is the value that OrHash takes a secret's hash from. The secret must
// be long and random: nothing slows guessing down.
func Hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// OrHash lets a secret be given by its hash: one that is "sha256:HEX" equals
// what has that hash, and not itself. Anyone who only checks a secret need not
// have it.
func (s Secret) OrHash() (Secret, error) {
	text, ok := strings.CutPrefix(s.Reveal(), hashPrefix)
	if !ok {
		return s, nil
	}
	hash, err := hex.DecodeString(text)
	if err != nil || len(hash) != sha256.Size {
		return Secret{}, fmt.Errorf("expected %d hexadecimal digits after %s", 2*sha256.Size, hashPrefix)
	}
	return newSecret(&values{current: s.Reveal(), digest: digest(hash)}), nil
}

func (v *values) accept(candidate digest) bool {
	if v.current == "" {
		return false
	}
	if hmac.Equal(v.digest[:], candidate[:]) {
		return true
	}
	for _, p := range v.previous {
		if hmac.Equal(p.digest[:], candidate[:]) && time.Now().Before(p.until) {
			return true
		}
	}
	return false
}

// digest stands for a value in comparisons: comparing hashes hides the length,
// which a plain constant-time comparison does not.
type digest = [sha256.Size]byte

// String implements fmt.Stringer.
func (s Secret) String() string { return redact.Mark }

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redact.Mark)) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redact.Mark) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redact.Mark), nil }

// MarshalBinary implements encoding.BinaryMarshaler.
func (s Secret) MarshalBinary() ([]byte, error) { return []byte(redact.Mark), nil }
