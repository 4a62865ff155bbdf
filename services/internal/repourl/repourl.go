// Package repourl reads the URLs of Git repositories: which can be cloned,
// under which name, and with whose credentials. Anyone who takes one in and
// anyone who clones it ask here, so that nothing is taken in that is refused later.
package repourl

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

const (
	// maxNameBytes is what file systems take for one name.
	maxNameBytes = 255
	gitSuffix    = ".git"
)

// reserved are folders of a workspace that a repository cannot be.
var reserved = []string{"inputs"}

// Repository is a repository that can be cloned.
type Repository struct {
	// URL is its URL without credentials.
	URL string
	// Name is the folder it is cloned into, as git would name it.
	Name string
	// User and Password are what the URL had before its host; empty for none.
	User, Password string
}

// Parse reads a repository's URL. Its errors say what is wrong and what to
// write instead; they never repeat a password.
func Parse(raw string) (Repository, error) {
	raw = strings.TrimSpace(raw)
	if strings.ContainsFunc(raw, unicode.IsControl) {
		return Repository{}, errors.New("must not have line breaks or other control characters")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || strings.HasPrefix(u.Opaque, ":") {
		return Repository{}, notHTTP(raw)
	}
	if u.Opaque != "" || u.Hostname() == "" {
		return Repository{}, fmt.Errorf("has no host: write it as %s://HOST/PATH", u.Scheme)
	}
	name, err := folder(u)
	if err != nil {
		return Repository{}, err
	}
	r := Repository{Name: name, User: u.User.Username()}
	r.Password, _ = u.User.Password()
	if strings.ContainsFunc(r.User+r.Password, unicode.IsControl) {
		return Repository{}, errors.New("must not have control characters in its user or password")
	}
	// A fragment is for browsers; git would ask for a file of that name.
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	r.URL = u.String()
	return r, nil
}

// Redact returns a repository's URL without credentials, as far as it is one.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	u.User = nil
	return u.String()
}

// folder is the name that git gives a clone: the last part of the path, or the
// host's, without ".git".
func folder(u *url.URL) (string, error) {
	last := strings.TrimRight(u.EscapedPath(), "/")
	last = strings.TrimRight(strings.TrimSuffix(last, "/"+gitSuffix), "/")
	last = last[strings.LastIndexByte(last, '/')+1:]
	name, err := url.PathUnescape(last)
	if err != nil {
		return "", errors.New("has a % that is not followed by two hexadecimal digits")
	}
	if name == "" {
		name = u.Hostname()
	}
	name = strings.TrimSuffix(strings.ToValidUTF8(name, "_"), gitSuffix)
	if strings.ContainsFunc(name, unicode.IsControl) {
		return "", errors.New("must not have line breaks or other control characters in its name, not even as %0A")
	}
	name = strings.NewReplacer("/", "_", `\`, "_").Replace(name)
	switch {
	case strings.Trim(name, ". ") == "" || strings.EqualFold(name, gitSuffix):
		return "", fmt.Errorf("must end in the repository's name: a folder cannot be called %q", name)
	case len(name) > maxNameBytes:
		return "", fmt.Errorf("has a name of more than %d bytes", maxNameBytes)
	}
	for _, taken := range reserved {
		if strings.EqualFold(name, taken) {
			return name + "-repository", nil
		}
	}
	return name, nil
}

// scpLike is user@host:path or host:path, which git takes for SSH.
var scpLike = regexp.MustCompile(`^(?:[^@:/\s]+@)?([^@:/\s]+):([^:].*)$`)

// notHTTP says why a repository cannot be cloned over what its URL names, and
// how it could be.
func notHTTP(raw string) error {
	if strings.Contains(raw, "::") && !strings.Contains(raw, "://[") {
		return errors.New("must be an https:// URL: Git's remote helpers are not available")
	}
	scheme, rest, isURL := strings.Cut(raw, "://")
	_, rest, _ = cutUser(rest)
	switch scheme = strings.ToLower(scheme); {
	case isURL && (scheme == "https" || scheme == "http"):
		return unreadable(rest)
	case isURL && (scheme == "ssh" || scheme == "git+ssh" || scheme == "ssh+git"):
		return ssh(withoutPort(rest))
	case isURL && scheme == "file":
		return errors.New("is a folder of some machine, which the sandbox does not see: write the https:// URL of a server that has it")
	case isURL:
		return fmt.Errorf("cannot be cloned over %s://: write %s", scheme, suggestion(withoutPort(rest)))
	}
	if strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, ".") || strings.HasPrefix(raw, "~") {
		return errors.New("is a folder of some machine, which the sandbox does not see: write the https:// URL of a server that has it")
	}
	if m := scpLike.FindStringSubmatch(raw); m != nil && !startsWithPort(m[2]) {
		return ssh(m[1] + "/" + strings.TrimLeft(m[2], "/"))
	}
	if host, _, ok := strings.Cut(raw, "/"); ok && strings.ContainsAny(host, ".:") && !strings.Contains(host, "@") {
		return fmt.Errorf("must begin with https://: write %s", suggestion(raw))
	}
	return errors.New("must be the https:// URL of a Git repository, such as https://github.com/ORG/REPO")
}

func unreadable(rest string) error {
	host, path, _ := strings.Cut(rest, "/")
	if _, err := url.PathUnescape(path); err != nil {
		return errors.New("has a % that is not followed by two hexadecimal digits: write a percent sign as %25")
	}
	if host == "" {
		return errors.New("has no host: write it as https://HOST/PATH")
	}
	return errors.New("cannot be read as a URL: see that host and port are right, and that characters such as @ and : in a password are percent-encoded")
}

func ssh(hostAndPath string) error {
	return fmt.Errorf("is an SSH address, and sandboxes hold no SSH keys: write %s", suggestion(hostAndPath))
}

func suggestion(hostAndPath string) string {
	if u, err := url.Parse("https://" + hostAndPath); err == nil && u.Host != "" {
		return u.String()
	}
	return "its https:// URL"
}

func cutUser(rest string) (user, host string, found bool) {
	end := strings.IndexByte(rest+"/", '/')
	if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
		return rest[:at], rest[at+1:], true
	}
	return "", rest, false
}

// withoutPort drops the port, which is that of another protocol.
func withoutPort(hostAndPath string) string {
	u, err := url.Parse("x://" + hostAndPath)
	if err != nil || u.Port() == "" {
		return hostAndPath
	}
	return strings.Replace(hostAndPath, ":"+u.Port(), "", 1)
}

// startsWithPort tells host:8080/path from host:path.
func startsWithPort(s string) bool {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	return digits > 0 && (digits == len(s) || s[digits] == '/')
}
