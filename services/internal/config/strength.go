package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/redact"
)

const (
	// fewCharacters is less than what any random secret has: 32 decimal digits
	// drawn at random have ten or nine different ones.
	fewCharacters = 6
	// sequenceShare of the steps from character to character make a sequence,
	// such as 123456789.
	sequenceShare = 0.75
)

var (
	// knownExamples are passwords of documentation, images and tutorials.
	knownExamples = []string{
		"admin", "administrator", "changeit", "default", "demo", "dev", "development", "guest", "hunter2", "letmein", "minio",
		"minio123", "minioadmin", "pass", "passw0rd", "password", "password1", "password123", "poco", "pocosecret", "postgres",
		"postgresql", "qwerty", "root", "rustfs", "rustfsadmin", "s3cret", "s3cr3t", "sample", "secret", "secretkey", "test", "testing",
		"token", "user", "welcome",
		// From the documentation of Amazon S3.
		"akiaiosfodnn7example", "wjalrxutnfemik7mdengbpxrficyexamplekey",
	}
	// placeholders begin what a template asks to replace.
	placeholders = []string{"changeme", "changethis", "replaceme", "replacethis", "replacewith", "yourown", "yoursecret", "yourtoken",
		"yourpassword", "yourkey", "example", "placeholder", "insert"}
)

// weakness says why a secret can be guessed; empty when it seems fine, and for
// secrets that others make up, such as API keys. It never holds the secret.
func weakness(s *schema.Setting, secret string) string {
	if s.GetSecretUrl() {
		for _, password := range redact.Passwords(secret) {
			if isKnownExample(password) {
				return "has a well-known example as its password"
			}
		}
		return ""
	}
	least := int(s.GetMinSecretLength())
	switch {
	case !s.IsSecret() || least == 0 && !s.GetGenerated():
		return ""
	case isKnownExample(secret):
		return "is a well-known example"
	case least == 0:
		return ""
	case utf8.RuneCountInString(secret) < least:
		return fmt.Sprintf("has fewer than %d characters", least)
	case distinct(secret) < fewCharacters || isRepetition(secret):
		return "repeats the same few characters"
	case isSequence(secret):
		return "is a sequence of characters"
	default:
		return ""
	}
}

func isKnownExample(secret string) bool {
	plain := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, secret)
	return slices.Contains(knownExamples, plain) ||
		slices.ContainsFunc(placeholders, func(p string) bool { return strings.HasPrefix(plain, p) })
}

func distinct(secret string) int {
	seen := map[rune]bool{}
	for _, r := range secret {
		seen[r] = true
	}
	return len(seen)
}

// isRepetition tells whether a text is another text, written at least twice;
// the last time perhaps not to its end.
func isRepetition(secret string) bool {
	for period := 1; period <= len(secret)/2; period++ {
		if secret[period:] == secret[:len(secret)-period] {
			return true
		}
	}
	return false
}

// isSequence tells whether most characters follow or precede the one before
// them in the alphabet, or are the same.
func isSequence(secret string) bool {
	steps, small := 0, 0
	previous := rune(-1)
	for _, r := range secret {
		if previous >= 0 {
			steps++
			if d := r - previous; d >= -1 && d <= 1 {
				small++
			}
		}
		previous = r
	}
	return steps > 0 && float64(small) >= sequenceShare*float64(steps)
}
