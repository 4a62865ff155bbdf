package redact_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/redact"
)

func TestHoldsPassword(t *testing.T) {
	for value, want := range map[string]bool{
		"http://u:p@h": true, "https://token@h": true, "tcp://u:p@h": true, "ssh://u@h": false, "http://h": false, "u:p@h": false, "x": false,
	} {
		require.Equal(t, want, redact.HoldsPassword(value), value)
	}
}

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
		"postgres://u%3Ap@h/d":                     "[redacted]",
		"host=h user=u password=p dbname=d":        "host=h user=u password=*** dbname=d",
		`host=h password = 'p \' q' sslpassword=x`: "host=h password=*** sslpassword=***",
		`host=h password='unclosed secret`:         "[redacted]",
		`host=h password=with space`:               "[redacted]",
		`host=h password=with space=x`:             "host=h password=*** space=***",
		"postgres://u:p@h/d?x=y&sslmode=disable":   "postgres://u:***@h/d?x=***&sslmode=disable",
		"postgres://u:p@h/d?word":                  "postgres://u:***@h/d?***",
		`host=h password=a\ b user=u`:              "host=h password=*** user=u",
		"secret":                                   "[redacted]",
		"user:secret@host":                         "[redacted]",
		"":                                         "[redacted]",
	} {
		require.Equal(t, want, redact.URL(raw), raw)
	}
}

// FuzzURL: whatever a password and what is around it look like, none of it is
// shown.
func FuzzURL(f *testing.F) {
	const mark = "s3cr3t-mark"
	for _, seed := range [][4]string{
		{"u", "", "", "h/d"}, {"u", "a@", "", "h/d?sslmode=disable"}, {"", "x/", "#", "h:1/d"}, {"u:v", "?a=", "&b", "[::1]/d"},
		{"u%40", "%", "%2", "h"}, {"u", "\n", "\x00", "h/d"}, {"u", "'", "\\", "h port=1"}, {"u", " ", " x=y", "h"}, {"u//", "//", "://", "://"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, user, before, after, rest string) {
		user, rest = strings.ReplaceAll(user, mark, ""), strings.ReplaceAll(rest, mark, "")
		password := before + mark + after
		quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
		for _, raw := range []string{
			"postgres://" + user + ":" + password + "@" + rest,
			"postgres://" + url.UserPassword(user, password).String() + "@" + rest,
			"postgres://h/d?user=u&password=" + url.QueryEscape(password),
			"host=h user=u password=" + quoted,
			"host=h password=" + password,
			password,
		} {
			require.NotContains(t, redact.URL(raw), mark, "%q", raw)
		}
	})
}
