package repourl_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/repourl"
)

// TestWhatCanBeCloned: whatever git can clone over HTTP is taken, under the
// name that git would give it.
func TestWhatCanBeCloned(t *testing.T) {
	for raw, want := range map[string]repourl.Repository{
		"https://github.com/org/repo":               {URL: "https://github.com/org/repo", Name: "repo"},
		"https://github.com/org/repo.git":           {URL: "https://github.com/org/repo.git", Name: "repo"},
		"https://github.com/org/repo.git/":          {URL: "https://github.com/org/repo.git/", Name: "repo"},
		"https://github.com/org/repo///":            {URL: "https://github.com/org/repo///", Name: "repo"},
		"https://github.com/org/.github":            {URL: "https://github.com/org/.github", Name: ".github"},
		"https://github.com/org/.github.git":        {URL: "https://github.com/org/.github.git", Name: ".github"},
		"https://h/o/my%20repo.git":                 {URL: "https://h/o/my%20repo.git", Name: "my repo"},
		"https://h/o/my repo.git":                   {URL: "https://h/o/my%20repo.git", Name: "my repo"},
		"https://h/o/c++lib.git":                    {URL: "https://h/o/c++lib.git", Name: "c++lib"},
		"https://h/o/a%2Fb.git":                     {URL: "https://h/o/a%2Fb.git", Name: "a_b"},
		"https://h/o/-rf":                           {URL: "https://h/o/-rf", Name: "-rf"},
		"https://h/o/team.site.io":                  {URL: "https://h/o/team.site.io", Name: "team.site.io"},
		"https://h/o/v1.0":                          {URL: "https://h/o/v1.0", Name: "v1.0"},
		"https://h/o/$x'\"`;&":                      {URL: "https://h/o/$x%27%22%60;&", Name: "$x'\"`;&"},
		"https://h/组/仓库.git":                        {URL: "https://h/%E7%BB%84/%E4%BB%93%E5%BA%93.git", Name: "仓库"},
		"https://h/o/%E4%BB%93.git":                 {URL: "https://h/o/%E4%BB%93.git", Name: "仓"},
		"https://h/o/latin%E9":                      {URL: "https://h/o/latin%E9", Name: "latin_"},
		"https://h/o/repo?token=1&x=y":              {URL: "https://h/o/repo?token=1&x=y", Name: "repo"},
		"https://h/o/repo#readme":                   {URL: "https://h/o/repo", Name: "repo"},
		"HTTPS://h:8443/o/repo":                     {URL: "https://h:8443/o/repo", Name: "repo"},
		"http://[::1]:8080/repo.git":                {URL: "http://[::1]:8080/repo.git", Name: "repo"},
		"http://127.0.0.1:1/repo.git":               {URL: "http://127.0.0.1:1/repo.git", Name: "repo"},
		"https://git.example.com/":                  {URL: "https://git.example.com/", Name: "git.example.com"},
		"https://h/o/checkout/.git":                 {URL: "https://h/o/checkout/.git", Name: "checkout"},
		"https://h/o/inputs.git":                    {URL: "https://h/o/inputs.git", Name: "inputs-repository"},
		"https://h/o/Inputs":                        {URL: "https://h/o/Inputs", Name: "Inputs-repository"},
		" https://h/o/repo\t":                       {URL: "https://h/o/repo", Name: "repo"},
		"https://me@h/o/repo":                       {URL: "https://h/o/repo", Name: "repo", User: "me"},
		"https://x-access-token:p%40ss@h:1/o/r.git": {URL: "https://h:1/o/r.git", Name: "r", User: "x-access-token", Password: "p@ss"},
		"https://h/~me/repo":                        {URL: "https://h/~me/repo", Name: "repo"},
	} {
		got, err := repourl.Parse(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
		again, err := repourl.Parse(got.URL)
		require.NoError(t, err, raw)
		require.Equal(t, want.Name, again.Name, raw)
	}
}

// TestWhatCannot: a refusal says why, and what to write instead.
func TestWhatCannot(t *testing.T) {
	for raw, want := range map[string]string{
		"git@github.com:org/repo.git":             "SSH address, and sandboxes hold no SSH keys: write https://github.com/org/repo.git",
		"github.com:org/repo.git":                 "write https://github.com/org/repo.git",
		"git@h:~me/repo":                          "write https://h/~me/repo",
		"ssh://git@github.com/org/repo.git":       "write https://github.com/org/repo.git",
		"ssh://git:secret@github.com:22/org/re":   "write https://github.com/org/re",
		"git+ssh://git@h/o/r":                     "write https://h/o/r",
		"git://h:9418/o/r.git":                    "cannot be cloned over git://: write https://h/o/r.git",
		"git+https://h/o/r.git":                   "cannot be cloned over git+https://: write https://h/o/r.git",
		"ftp://me:secret@h/o/r":                   "write https://h/o/r",
		"github.com/org/repo":                     "must begin with https://: write https://github.com/org/repo",
		"localhost:8080/org/repo":                 "must begin with https://: write https://localhost:8080/org/repo",
		"org/repo":                                "such as https://github.com/ORG/REPO",
		"repo":                                    "such as https://github.com/ORG/REPO",
		"":                                        "must be the https:// URL",
		"file:///etc":                             "is a folder of some machine",
		"/srv/git/repo":                           "is a folder of some machine",
		"../repo":                                 "is a folder of some machine",
		"ext::sh -c whoami":                       "remote helpers are not available",
		"https::https://h/o/r":                    "remote helpers are not available",
		"https:///repo":                           "has no host",
		"https:repo":                              "has no host",
		"https://h:port/o/repo":                   "cannot be read as a URL",
		"https://u:secr#et@h/o/repo":              "cannot be read as a URL",
		"https://h/o/100%":                        "write a percent sign as %25",
		"https://h/o/a\nb":                        "line breaks",
		"https://h/o/a%0Ab":                       "line breaks",
		"https://h/o/a%00b":                       "control characters",
		"https://u%0A:p@h/o/b":                    "control characters",
		"https://h/o/..":                          "must end in the repository's name",
		"https://h/o/%2e%2e.git":                  "must end in the repository's name",
		"https://h/o/.git.git":                    "must end in the repository's name",
		"https://h/o/" + strings.Repeat("r", 256): "more than 255 bytes",
	} {
		_, err := repourl.Parse(raw)
		require.ErrorContains(t, err, want, raw)
		require.NotContains(t, err.Error(), "secr", raw)
	}
}

func TestBranches(t *testing.T) {
	for _, good := range []string{"main", "feature/x", "v1.0", "ünï", "a@b", "x-y_z", "feature/#12"} {
		require.NoError(t, repourl.CheckBranch(good), good)
	}
	for _, bad := range []string{"", "-x", "a b", "a..b", "/a", "a/", "a//b", "a.lock", "a/.b", "a~1", "a^", "a:b", "a?", "a*", "a[", `a\b`, "@", "a@{1}", "a.", "a\nb"} {
		require.Error(t, repourl.CheckBranch(bad), bad)
	}
}
