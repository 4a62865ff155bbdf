// Package redact says how secrets are shown.
package redact

import (
	"net/url"
	"regexp"
	"strings"
)

const (
	// Mark stands wherever a secret would have been printed.
	Mark = "[redacted]"
	// passwordMark stands where a password was.
	passwordMark = "***"
)

var (
	// dsnPassword finds passwords in libpq's keyword notation, quoted or not,
	// https://www.postgresql.org/docs/current/libpq-connect.html.
	dsnPassword = regexp.MustCompile(`(?i)\b((?:ssl)?password)\s*=\s*('(?:[^'\\]|\\.)*'?|(?:[^\s\\]|\\.)*)`)
	dsnForm     = regexp.MustCompile(`^\s*\w+\s*=`)
	// secretParameter are query parameters that may hold a secret.
	secretParameter = regexp.MustCompile(`(?i)pass|secret|token|key|credential|signature`)
)

// URL returns a URL that holds a secret in the form that may be shown: the
// user stays, the password becomes ***. It knows libpq's keyword notation as
// well. What it cannot read for certain is [redacted] as a whole.
func URL(raw string) string {
	if !strings.Contains(raw, "://") {
		if dsnForm.MatchString(raw) {
			return dsnPassword.ReplaceAllString(raw, "${1}="+passwordMark)
		}
		return Mark
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return Mark
	}
	// A password with an unescaped @, / or # ends up in other parts.
	if strings.Count(raw, "@") > 1 || u.User == nil && strings.Contains(raw, "@") {
		return Mark
	}
	userinfo := ""
	if u.User != nil {
		userinfo = url.User(u.User.Username()).String()
		if _, has := u.User.Password(); has {
			userinfo += ":" + passwordMark
		}
		userinfo += "@"
	}
	u.User = nil
	u.RawQuery = maskQuery(u.RawQuery)
	scheme, rest, _ := strings.Cut(u.String(), "://")
	return scheme + "://" + userinfo + rest
}

func maskQuery(raw string) string {
	if raw == "" {
		return ""
	}
	parts := strings.Split(raw, "&")
	for i, part := range parts {
		if name, _, ok := strings.Cut(part, "="); ok && secretParameter.MatchString(name) {
			parts[i] = name + "=" + passwordMark
		}
	}
	return strings.Join(parts, "&")
}

// Plain masks a value that should hold no secret and still may: a URL with
// user info.
func Plain(value string) string {
	if strings.Contains(value, "://") && (strings.Contains(value, "@") || strings.Contains(value, "?")) {
		return URL(value)
	}
	return value
}

// HoldsPassword tells whether a value is a URL with a password.
func HoldsPassword(value string) bool {
	u, err := url.Parse(strings.TrimSpace(value))
	if err != nil || u.User == nil {
		return false
	}
	_, has := u.User.Password()
	return has
}
