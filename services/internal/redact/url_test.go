package redact_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/redact"
)

func TestURL(t *testing.T) {
	for raw, want := range map[string]string{
		"postgres://u:p@h:5432/d":                  "postgres://u:***@h:5432/d",
		"postgres://u:p%40x@h/d?sslmode=disable":   "postgres://u:***@h/d?sslmode=disable",
		"postgres://u@h/d":                         "postgres://u@h/d",
		"postgres://h/d?user=u&password=p":         "postgres://h/d?user=u&password=***",
		"postgres://u:p@x@h/d":                     "[redacted]",
		"postgres://u:12/3@h/d":                    "[redacted]",
		"postgres://u:12#3@h/d":                    "[redacted]",
		"postgres://u:p[@h/d":                      "[redacted]",
		"host=h user=u password=p dbname=d":        "host=h user=u password=*** dbname=d",
		`host=h password = 'p \' q' sslpassword=x`: "host=h password=*** sslpassword=***",
		`host=h password='unclosed secret`:         "host=h password=***",
		`host=h password=a\ b user=u`:              "host=h password=*** user=u",
		"secret":                                   "[redacted]",
		"user:secret@host":                         "[redacted]",
		"":                                         "[redacted]",
	} {
		require.Equal(t, want, redact.URL(raw), raw)
	}
}
