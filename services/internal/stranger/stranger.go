// Package stranger words the answers of somebody else than who was asked: a
// proxy, a firewall, a sign-in page, a server at a wrong address.
package stranger

import (
	"bytes"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	// maxPeek is how much of an answer is looked at to tell whose it is.
	maxPeek = 64 << 10
	// maxQuoted is how many bytes of a stranger's answer are shown.
	maxQuoted = 200
)

var (
	titlePattern = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	tagPattern   = regexp.MustCompile(`(?s)<[^>]*>`)
)

// Peek reads the beginning of an answer and leaves it to be read. With an error
// it returns what came before.
func Peek(resp *http.Response) ([]byte, error) {
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	if err != nil {
		return head, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return head, nil
}

// RedirectTarget names where a redirect leads, without what may be secret.
func RedirectTarget(resp *http.Response) string {
	location, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	return (&url.URL{Scheme: location.Scheme, Host: location.Host, Path: location.Path}).String()
}

// Describe tells a person what an answer is, and by whom; said is what is known
// of what it says, and may be empty.
func Describe(resp *http.Response, body []byte, said string) string {
	what := "an empty answer"
	title := titlePattern.FindSubmatch(body)
	switch {
	case said != "":
		what = "the message " + quoted(said)
	case title != nil:
		what = "a page titled " + quoted(html.UnescapeString(string(title[1])))
	case len(bytes.TrimSpace(body)) > 0:
		what = "the text " + quoted(tagPattern.ReplaceAllString(string(body), " "))
	}
	var by []string
	for _, name := range []string{"Server", "Via", "Proxy-Authenticate"} {
		if value := resp.Header.Get(name); value != "" {
			by = append(by, name+": "+sanitize.Head(sanitize.Text(value), maxQuoted))
		}
	}
	if len(by) > 0 {
		what += " (" + strings.Join(by, "; ") + ")"
	}
	return what
}

func quoted(s string) string {
	return `"` + sanitize.Head(sanitize.Text(strings.Join(strings.Fields(s), " ")), maxQuoted) + `"`
}
