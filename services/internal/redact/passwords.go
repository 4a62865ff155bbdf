package redact

import (
	"net/url"
	"slices"
	"strings"
)

// Passwords are the secret parts of a URL that holds a secret: what URL masks,
// as it stands there and decoded. What cannot be read for certain is secret as a
// whole.
func Passwords(raw string) []string {
	var out []string
	if URL(raw) == Mark {
		out = append(out, raw) // and what can be found in it
	}
	add := func(encoded, decoded string, err error) {
		out = append(out, encoded)
		if err == nil {
			out = append(out, decoded)
		}
	}
	if !urlForm.MatchString(raw) {
		for _, match := range dsnPassword.FindAllStringSubmatch(raw, -1) {
			add(match[2], unquoteDSN(match[2]), nil)
		}
		return compact(out)
	}
	_, rest, _ := strings.Cut(raw, "://")
	authority, _, _ := strings.Cut(rest, "/")
	if userinfo, _, ok := strings.Cut(authority, "@"); ok {
		user, password, ok := strings.Cut(userinfo, ":")
		if ok {
			decoded, err := url.PathUnescape(password)
			add(password, decoded, err)
		}
		if decoded, err := url.PathUnescape(user); err == nil {
			if _, password, ok := strings.Cut(decoded, ":"); ok {
				add(password, password, nil) // its colon was escaped by mistake
			}
		}
	}
	_, query, _ := strings.Cut(rest, "?")
	query, _, _ = strings.Cut(query, "#")
	for part := range strings.SplitSeq(query, "&") {
		if name, value, ok := strings.Cut(part, "="); ok && secretParameter.MatchString(name) {
			decoded, err := url.QueryUnescape(value)
			add(value, decoded, err)
		}
	}
	return compact(out)
}

// unquoteDSN reads a value in libpq's keyword notation.
func unquoteDSN(value string) string {
	value = strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'")
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

func compact(texts []string) []string {
	slices.Sort(texts)
	texts = slices.Compact(texts)
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}
