package redact_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/redact"
)

func TestPasswords(t *testing.T) {
	for raw, want := range map[string][]string{
		"postgres://u:p@h:5432/d":                           {"p"},
		"postgres://u:p%40x@h/d?sslmode=disable":            {"p%40x", "p@x"},
		"postgres://u:p@h?sslpassword=a%20b&application=x#": {"a b", "a%20b", "p"},
		"postgres://u@h/d":                                  nil,
		"postgres://u:p@x@h/d":                              {"postgres://u:p@x@h/d", "p"},
		"postgres://u:a#b@h/d":                              {"postgres://u:a#b@h/d", "a#b"},
		"postgres://u%3Ap%40x@h/d":                          {"postgres://u%3Ap%40x@h/d", "p@x"},
		`host=h password = 'p \' q' sslpassword=x`:          {`'p \' q'`, "p ' q", "x"},
	} {
		require.ElementsMatch(t, want, redact.Passwords(raw), raw)
	}
}
