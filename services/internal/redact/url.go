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
	// urlForm begins a URL. Only of schemes that are in use: a password may have
	// :// in it, too.
	urlForm = regexp.MustCompile(`(?i)^\s*(postgres|postgresql|https?|tcp|ssh|unix)://`)
	dsnForm = regexp.MustCompile(`^\s*\w+\s*=`)
	// dsnPair is the next keyword with its value.
	dsnPair = regexp.MustCompile(`^\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*|)(?:\s+|$)`)
	// plainParameter are parameters of connections that hold no secret. What is
	// not among them is not shown: a password that was not quoted may look like
	// another parameter.
	plainParameter = regexp.MustCompile(`^(host|hostaddr|port|dbname|user|sslmode|connect_timeout|application_name|target_session_attrs|` +
		`search_path|timezone|statement_timeout|pool_\w+|channel_binding|gssencmode)$`)
	// secretParameter are query parameters that may hold a secret.
	secretParameter = regexp.MustCompile(`(?i)pass|secret|token|key|credential|signature`)
)

// URL returns a URL that holds a secret in the form that may be shown: the
// user stays, the password becomes ***. It knows libpq's keyword notation as
// well. What it cannot read for certain is [redacted] as a whole.
func URL(raw string) string {
	if !urlForm.MatchString(raw) {
		return keywords(raw)
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
		if strings.Contains(u.User.Username(), ":") {
			return Mark // a password behind a colon that was escaped by mistake
		}
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

// keywords masks libpq's keyword notation.
func keywords(raw string) string {
	if !dsnForm.MatchString(raw) {
		return Mark
	}
	var shown []string
	for strings.TrimSpace(raw) != "" {
		pair := dsnPair.FindStringSubmatch(raw)
		if pair == nil {
			return Mark
		}
		raw = raw[len(pair[0]):]
		value := passwordMark
		if plainParameter.MatchString(pair[1]) {
			value = pair[2]
		}
		shown = append(shown, pair[1]+"="+value)
	}
	return strings.Join(shown, " ")
}

func maskQuery(raw string) string {
	if raw == "" {
		return ""
	}
	parts := strings.Split(raw, "&")
	for i, part := range parts {
		name, _, ok := strings.Cut(part, "=")
		switch {
		case !ok:
			parts[i] = passwordMark
		case !plainParameter.MatchString(name):
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

// HoldsPassword tells whether a value is a URL with a password, or one of HTTP
// with a user alone, which is a token there.
func HoldsPassword(value string) bool {
	u, err := url.Parse(strings.TrimSpace(value))
	if err != nil || u.User == nil {
		return false
	}
	_, has := u.User.Password()
	return has || u.Scheme == "http" || u.Scheme == "https"
}
