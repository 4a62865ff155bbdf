package schema

import (
	"errors"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/postgresurl"
	"github.com/poco-ai/poco/services/internal/redact"
)

// format is what a text has to look like.
type format struct {
	// name is the type as reports show it.
	name string
	// expected says it in words.
	expected string
	ok       func(string) bool
	// complaint says what else is wrong with a text that is ok by its looks, and
	// what to do; nil when nothing can be.
	complaint func(string) (message, fix string)
}

var formats = map[configv1.Format]format{
	configv1.Format_FORMAT_HTTP_URL: {name: "url", expected: "a URL such as http://host:port", ok: isHTTPURL},
	configv1.Format_FORMAT_ORIGIN:   {name: "url", expected: "an origin such as https://poco.example.com, without a path", ok: isOrigin},
	configv1.Format_FORMAT_HOST:     {name: "host", expected: "a host name or an IP address, without a port", ok: isHost},
	configv1.Format_FORMAT_POSTGRES_URL: {
		name: "url", expected: "a URL such as postgres://user:password@host:5432/database", ok: isPostgresURL, complaint: postgresComplaint,
	},
	configv1.Format_FORMAT_ABSOLUTE_PATH: {name: "path", expected: "an absolute path", ok: filepath.IsAbs},
	configv1.Format_FORMAT_IMAGE:         {name: "image", expected: "an image such as registry/name:tag", ok: isImage},
}

var (
	// hostLabel is a part of a host name. Underscores are not RFC 1123, and
	// still names of compose services.
	hostLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$`)
	// imageReference is the grammar of image references without its rarest
	// parts: [host[:port]/]path[:tag][@digest].
	imageReference = regexp.MustCompile(`^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	// keywords begins a connection string in libpq's keyword notation.
	keywords = regexp.MustCompile(`^\s*\w+\s*=`)
	// userKeyword and databaseKeyword are keywords with a value. A service file,
	// service=, may have both.
	userKeyword     = regexp.MustCompile(`\b(user|service)\s*=\s*\S`)
	databaseKeyword = regexp.MustCompile(`\b(dbname|service)\s*=\s*\S`)
)

// fits tells whether a text has the setting's format.
func (s *Setting) fits(text string) bool {
	f, ok := formats[s.GetFormat()]
	return !ok || f.ok(strings.TrimSpace(text))
}

// Complaint is what is wrong with a text that can be assigned, and what to do:
// what anyone who uses the value would say. Both are empty when it is fine.
func (s *Setting) Complaint(text string) (message, fix string) {
	if f := formats[s.GetFormat()]; f.complaint != nil {
		return f.complaint(strings.TrimSpace(text))
	}
	return "", ""
}

// LacksScheme tells whether a text would be the setting's URL with http://
// before it.
func (s *Setting) LacksScheme(text string) bool {
	switch s.GetFormat() {
	case configv1.Format_FORMAT_HTTP_URL, configv1.Format_FORMAT_ORIGIN:
		return !strings.Contains(text, "://") && s.fits("http://"+strings.TrimSpace(text))
	default:
		return false
	}
}

// isAddress tells whether the setting is the address of a service.
func (s *Setting) isAddress() bool {
	switch s.GetFormat() {
	case configv1.Format_FORMAT_HTTP_URL, configv1.Format_FORMAT_ORIGIN, configv1.Format_FORMAT_HOST:
		return true
	default:
		return false
	}
}

func isHTTPURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Opaque == "" && isHost(u.Hostname()) && isPort(u) &&
		u.RawQuery == "" && u.Fragment == ""
}

func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && isHTTPURL(text) && u.User == nil && u.Path == ""
}

// isPort accepts a URL without a port, too.
func isPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

func isHost(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	if len(text) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(text, "."), ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return true
}

// isPostgresURL wants a user and a database named: without, the driver takes
// those of the same name as the account the service runs under. What else is
// inside may be secret, and the driver reads it anyway.
func isPostgresURL(text string) bool {
	text = postgresurl.Plain(text)
	if keywords.MatchString(text) {
		return redact.URL(text) != redact.Mark && userKeyword.MatchString(text) && databaseKeyword.MatchString(text)
	}
	scheme, rest, _ := strings.Cut(text, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return false
	}
	// For the driver, as for libpq, the first @ or / ends the password. One that
	// has either in it would become a part of the host's name, which errors show.
	if strings.Count(rest, "@") > 1 {
		return false
	}
	userinfo := ""
	if before, after, ok := strings.Cut(rest, "@"); ok {
		userinfo, rest = before, after
	}
	if strings.ContainsAny(userinfo, "/ ") || !isEscaped(userinfo) {
		return false
	}
	rest, query, _ := strings.Cut(rest, "?")
	_, database, _ := strings.Cut(rest, "/")
	query = "&" + query
	return (userinfo != "" && !strings.HasPrefix(userinfo, ":") || strings.Contains(query, "&user=")) &&
		(database != "" || strings.Contains(query, "&dbname="))
}

func postgresComplaint(text string) (message, fix string) {
	var complaint *postgresurl.InvalidError
	if _, err := postgresurl.Parse(text); errors.As(err, &complaint) {
		return complaint.Message, complaint.Fix
	}
	return "", ""
}

// isEscaped tells whether each % begins the number of a byte.
func isEscaped(text string) bool {
	_, err := url.PathUnescape(text)
	return err == nil
}

func isImage(text string) bool { return imageReference.MatchString(text) }
