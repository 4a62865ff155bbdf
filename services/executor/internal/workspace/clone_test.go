package workspace

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/testkit"
)

// bare makes a repository with one file, README, that says its name.
func bare(t *testing.T, root, name string) {
	t.Helper()
	dir := filepath.Join(root, name)
	work := t.TempDir()
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", dir},
		{"-C", work, "init", "--quiet", "--initial-branch=main"},
		{"-C", work, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--allow-empty", "-m", "of " + name},
		{"-C", work, "push", "--quiet", dir, "main"},
	} {
		out, err := exec.Command("git", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// served is the URL of a folder of repositories.
func served(t *testing.T, root string) string {
	t.Helper()
	server := httptest.NewServer(testkit.GitServer(t, root))
	t.Cleanup(server.Close)
	return server.URL
}

func subject(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("git", "-c", "safe.directory=*", "-C", dir, "log", "--format=%s").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// TestClonesUnderEveryName: what is taken in is cloned, into the folder that
// git would take, and the next run finds it again.
func TestClonesUnderEveryName(t *testing.T) {
	origin := t.TempDir()
	url := served(t, origin)
	for name, c := range map[string]struct{ path, folder string }{
		".github": {"/.github", ".github"}, "my repo.git": {"/my%20repo.git", "my repo"}, "c++lib.git": {"/c++lib.git", "c++lib"},
		"仓库.git": {"/仓库.git", "仓库"}, "inputs.git": {"/inputs.git", "inputs-repository"}, "slash": {"/slash/", "slash"}, "-dash": {"/-dash", "-dash"},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t, origin, name)
			opts := Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r1", RepoURL: url + c.path}
			for range 2 {
				w := prepare(t, opts)
				require.Equal(t, filepath.Join(opts.Root, c.folder), w.Dir)
				require.Equal(t, "of "+name, subject(t, w.Dir))
				require.Empty(t, w.Notices)
			}
		})
	}
}

// TestWhichBranchIsCheckedOut: a branch, whatever else is called so, or a word
// on why there is none.
func TestWhichBranchIsCheckedOut(t *testing.T) {
	for name, c := range map[string]struct {
		branch, want, notice string
		refs                 [][]string // git commands in the repository
	}{
		"a tag called like the branch": {want: "main", refs: [][]string{{"tag", "main"}}},
		"a tag called main": {want: "trunk", refs: [][]string{
			{"branch", "-m", "main", "trunk"}, {"symbolic-ref", "HEAD", "refs/heads/trunk"}, {"tag", "main", "trunk"},
		}},
		"a tag that is asked for": {branch: "v1", want: "", refs: [][]string{{"tag", "v1"}}},
		"a default branch that is gone": {want: "gone", notice: "It has other, second", refs: [][]string{
			{"branch", "second"}, {"branch", "-m", "main", "other"}, {"symbolic-ref", "HEAD", "refs/heads/gone"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			origin := t.TempDir()
			bare(t, origin, "repo.git")
			for _, args := range c.refs {
				out, err := exec.Command("git", append([]string{"-C", filepath.Join(origin, "repo.git")}, args...)...).CombinedOutput()
				require.NoError(t, err, "%s", out)
			}
			w := prepare(t, Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r1", RepoURL: served(t, origin) + "/repo.git", Branch: c.branch})
			require.Equal(t, c.want, w.branch(t.Context()))
			if c.notice == "" {
				require.Empty(t, w.Notices)
				return
			}
			require.Len(t, w.Notices, 1)
			require.Contains(t, w.Notices[0], c.notice)
		})
	}
}

// TestAnotherRepositoryOfTheSameName is not taken for the one that is there.
func TestAnotherRepositoryOfTheSameName(t *testing.T) {
	origin := t.TempDir()
	url := served(t, origin)
	bare(t, origin, "a/lib.git")
	bare(t, origin, "b/lib.git")
	opts := Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r1", RepoURL: url + "/a/lib.git"}
	require.NoError(t, os.Mkdir(filepath.Join(opts.Root, "lib"), 0o755)) // somebody's work
	w := prepare(t, opts)
	first := w.Dir
	require.Equal(t, "of a/lib.git", subject(t, first))
	require.Equal(t, []string{"The repository is in the folder lib-2: what was in lib already stays as it is."}, w.Notices)
	opts.RunID, opts.RepoURL = "r2", url+"/b/lib.git"
	require.Equal(t, "of b/lib.git", subject(t, prepare(t, opts).Dir))
	opts.RunID, opts.RepoURL = "r3", url+"/a/lib.git"
	require.Equal(t, first, prepare(t, opts).Dir)
	// The agent can remove what was noted of it: its work is where it was.
	require.NoError(t, os.RemoveAll(stateOf(opts.Root)))
	opts.RunID = "r4"
	require.Equal(t, first, prepare(t, opts).Dir)
}

// TestThePasswordStaysOut: it opens the repository, and is in no file then.
func TestThePasswordStaysOut(t *testing.T) {
	origin := t.TempDir()
	bare(t, origin, "private.git")
	git := testkit.GitServer(t, origin)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != `s3cr%et'"$x` {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		git.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	opts := Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r1"}
	opts.RepoURL = strings.Replace(server.URL, "http://", "http://me:s3cr%25et%27%22%24x@", 1) + "/private.git"
	w := prepare(t, opts)
	require.Equal(t, "of private.git", subject(t, w.Dir))
	require.Contains(t, strings.Join(w.Notices, "\n"), "served for the clone alone")
	for _, root := range []string{opts.Root, opts.State} {
		require.NoError(t, filepath.WalkDir(root, func(name string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				content, err := os.ReadFile(name)
				require.NoError(t, err)
				require.NotContains(t, string(content), "s3cr", name)
			}
			return err
		}))
	}

	opts = Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r1"}
	opts.RepoURL = strings.Replace(server.URL, "http://", "http://me:wr0ng@", 1) + "/private.git"
	_, err := Prepare(t.Context(), opts)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "wr0ng")
}

// TestClonesTakeTheWayOut: through the machine's proxy, and trusting the
// machine's certificate authorities.
func TestClonesTakeTheWayOut(t *testing.T) {
	origin := t.TempDir()
	bare(t, origin, "repo.git")
	server := httptest.NewTLSServer(testkit.GitServer(t, origin))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644))
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "example.com:443" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		tunnels.Add(1)
		tunnel(r.Context(), w, server.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"} {
		t.Setenv(name, "")
	}
	opts := func() Options {
		return Options{Root: t.TempDir(), State: t.TempDir(), RunID: "r1", RepoURL: "https://example.com/repo.git"}
	}
	for _, trusted := range []string{"SSL_CERT_FILE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"} {
		for _, proxied := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
			t.Run(trusted+", "+proxied, func(t *testing.T) {
				t.Setenv(trusted, ca)
				t.Setenv(proxied, proxy.URL)
				before := tunnels.Load()
				require.Equal(t, "of repo.git", subject(t, prepare(t, opts()).Dir))
				require.Greater(t, tunnels.Load(), before)
			})
		}
	}
	t.Setenv("HTTPS_PROXY", proxy.URL)
	_, err := Prepare(t.Context(), opts())
	require.ErrorContains(t, err, "SSL_CERT_FILE", "nobody is trusted by mistake")
}

// tunnel connects a client of a proxy with an address.
func tunnel(ctx context.Context, w http.ResponseWriter, addr string) {
	target, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer target.Close()
	client, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	_, _ = client.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(client, target)
		_ = client.Close()
	}()
	_, _ = io.Copy(target, buffered)
	_ = target.Close()
	<-done
}
