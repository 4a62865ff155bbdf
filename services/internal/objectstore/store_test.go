package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, store *objectstore.Store, key string) ([]byte, objectstore.Object) {
	t.Helper()
	body, info, err := store.Get(t.Context(), key)
	require.NoError(t, err)
	defer body.Close()
	data, err := io.ReadAll(body)
	require.NoError(t, err)
	return data, info
}

func TestPutAndGet(t *testing.T) {
	store := testkit.ObjectStore(t)
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16) // three parts
	tests := map[string]struct {
		data []byte
		size int64
		body func([]byte) io.Reader
	}{
		"empty":            {nil, 0, func(b []byte) io.Reader { return bytes.NewReader(b) }},
		"small":            {[]byte("hello"), 5, func(b []byte) io.Reader { return bytes.NewReader(b) }},
		"unknown size":     {[]byte("hello"), -1, func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b)) }},
		"large":            {large, int64(len(large)), func(b []byte) io.Reader { return bytes.NewReader(b) }},
		"large, streaming": {large, -1, func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b)) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			key := "a/ünï cödé+&?/" + strings.ReplaceAll(name, " ", "")
			require.NoError(t, store.Put(t.Context(), key, "text/plain", test.body(test.data), test.size))
			data, info := read(t, store, key)
			require.True(t, bytes.Equal(test.data, data))
			require.Equal(t, int64(len(test.data)), info.Size)
			require.Equal(t, "text/plain", info.ContentType)
			stat, err := store.Stat(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, info.Size, stat.Size)
		})
	}
}

func TestFailedPutStoresNothing(t *testing.T) {
	store := testkit.ObjectStore(t)
	broken := errors.New("broken")
	body := io.MultiReader(bytes.NewReader(make([]byte, 12<<20)), iotest.ErrReader(broken))
	require.ErrorIs(t, store.Put(t.Context(), "k", "", body, -1), broken)
	_, _, err := store.Get(t.Context(), "k")
	require.ErrorIs(t, err, objectstore.ErrNotFound)
}

func TestBadKeys(t *testing.T) {
	store := testkit.ObjectStore(t)
	for _, key := range []string{"", "/a", "a/../b", "a//b", "a/", ".", "a\x00b", strings.Repeat("k", 1025)} {
		require.Error(t, store.Put(t.Context(), key, "", strings.NewReader(""), 0), "%q", key)
		_, _, err := store.Get(t.Context(), key)
		require.Error(t, err, "%q", key)
	}
}

func TestListAndDelete(t *testing.T) {
	store := testkit.ObjectStore(t)
	for _, key := range []string{"p/b", "p/a", "q/c"} {
		require.NoError(t, store.Put(t.Context(), key, "", strings.NewReader(key), -1))
	}
	list := func(prefix string) (keys []string) {
		require.NoError(t, store.List(t.Context(), prefix, func(o objectstore.Object) error {
			require.Equal(t, int64(3), o.Size)
			keys = append(keys, o.Key)
			return nil
		}))
		return keys
	}
	require.Equal(t, []string{"p/a", "p/b"}, list("p/"))
	require.NoError(t, store.Delete(t.Context(), "p/a", "missing"))
	require.Equal(t, []string{"p/b", "q/c"}, list(""))
	require.NoError(t, store.DeletePrefix(t.Context(), "p/"))
	require.Equal(t, []string{"q/c"}, list(""))
	require.Error(t, store.DeletePrefix(t.Context(), ""))
}

func TestPresignGet(t *testing.T) {
	store := testkit.ObjectStore(t)
	require.NoError(t, store.Put(t.Context(), "k/ä b", "text/html", strings.NewReader("hi"), 2))
	const saved, plain = "application/octet-stream", "text/plain; charset=utf-8"
	tests := map[string]struct {
		filename, contentType string
		save                  bool
		disposition, gotType  string
	}{
		"an archive":      {"report.zip", "application/zip", true, `attachment; filename=report.zip`, saved},
		"unicode":         {"bär\n/x.txt", "text/plain", false, `inline; filename*=utf-8''b%C3%A4r__x.txt`, plain},
		"a picture":       {"a.png", "image/png", false, `inline; filename=a.png`, "image/png"},
		"asked to save":   {"a.png", "image/png", true, `attachment; filename=a.png`, "image/png"},
		"JSON":            {"a.json", "application/json", false, `inline; filename=a.json`, plain},
		"a script":        {"a.js", "text/javascript; charset=utf-8", false, `inline; filename=a.js`, plain},
		"a style sheet":   {"a.css", "text/css", false, `inline; filename=a.css`, plain},
		"HTML":            {"a.html", "text/html", false, `attachment; filename=a.html`, saved},
		"HTML, shouted":   {"a.HTML", "TEXT/HTML; charset=UTF-8", false, `attachment; filename=a.HTML`, saved},
		"XHTML":           {"a.xhtml", "application/xhtml+xml", false, `attachment; filename=a.xhtml`, saved},
		"XML":             {"a.xml", "text/xml", false, `attachment; filename=a.xml`, saved},
		"SVG":             {"a.svg", "image/svg+xml", false, `attachment; filename=a.svg`, saved},
		"SVG, dressed up": {"a.png.svg", "image/svg+xml; charset=utf-8", false, `attachment; filename=a.png.svg`, saved},
		"PDF":             {"a.pdf", "application/pdf", false, `attachment; filename=a.pdf`, saved},
		"nobody knows":    {"a", "", false, `attachment; filename=a`, saved},
		"nonsense":        {"a", "text/html\r\nX-Evil: 1", false, `attachment; filename=a`, saved},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url, expires, err := store.PresignGet(t.Context(), "k/ä b", test.filename, test.contentType, test.save)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(5*time.Minute), expires, time.Minute)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			res, err := client.Get(url)
			require.NoError(t, err)
			defer res.Body.Close()
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.Equal(t, test.disposition, res.Header.Get("Content-Disposition"))
			require.Equal(t, test.gotType, res.Header.Get("Content-Type"))
		})
	}
}

// A browser reaches the service under another name than the backend does, as in
// a compose stack: links are signed for that name.
func TestLinksAreForThePublicEndpoint(t *testing.T) {
	server := testkit.S3(t)
	inside, err := url.Parse(server.Config.GetEndpoint())
	require.NoError(t, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(inside)
		r.Out.Host = r.In.Host // what the signature is over
	}})
	t.Cleanup(proxy.Close)
	server.Config.PublicEndpoint = proxy.URL
	store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, server.SecretKey)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	require.NoError(t, store.Put(t.Context(), "k", "text/plain", strings.NewReader("hi"), 2))
	link, _, err := store.PresignGet(t.Context(), "k", "k.txt", "text/plain", false)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(link, proxy.URL+"/"), link)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(link)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "hi", string(body), res.Status)
}

// What the service refuses names the setting to correct.
func TestRefusalsNameTheSetting(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testkit.S3Server)
		want   string
	}{
		"another region":  {func(s *testkit.S3Server) { s.Config.Region = "eu-central-1" }, `S3_REGION is "eu-central-1"`},
		"a wrong key":     {func(s *testkit.S3Server) { s.AccessKey = config.NewSecret("somebody") }, "S3_ACCESS_KEY"},
		"a wrong secret":  {func(s *testkit.S3Server) { s.SecretKey = config.NewSecret("wrong") }, "S3_SECRET_KEY"},
		"a path too many": {func(s *testkit.S3Server) { s.Config.Endpoint += "/storage/v1" }, "S3_ENDPOINT has the path /storage/v1"},
	} {
		t.Run(name, func(t *testing.T) {
			server := testkit.S3(t)
			c.change(&server)
			store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, server.SecretKey)
			require.NoError(t, err)
			t.Cleanup(store.Close)
			require.ErrorContains(t, store.Check(t.Context()), c.want)
			if name != "a path too many" { // which may well be an object of a bucket "storage"
				require.ErrorContains(t, store.EnsureBucket(t.Context()), c.want)
				require.ErrorContains(t, store.Put(t.Context(), "k", "", strings.NewReader("x"), 1), c.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	server := testkit.S3(t)
	server.Config.Bucket += "-new"
	open := func(secret config.Secret) *objectstore.Store {
		store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, secret)
		require.NoError(t, err)
		t.Cleanup(store.Close)
		return store
	}
	store := open(server.SecretKey)
	require.ErrorContains(t, store.Check(t.Context()), "does not exist")
	require.NoError(t, store.EnsureBucket(t.Context()))
	require.NoError(t, store.EnsureBucket(t.Context()))
	require.NoError(t, store.Check(t.Context()))
	err := open(config.NewSecret("wrong-secret")).Check(t.Context())
	require.ErrorContains(t, err, "reach the bucket")
	require.NotContains(t, err.Error(), "wrong-secret")
}

func TestServiceAway(t *testing.T) {
	server := testkit.S3(t)
	l := testkit.Listener(t)
	server.Config.Endpoint = "http://" + l.Addr().String()
	server.Config.MaxAttempts = 1
	require.NoError(t, l.Close())
	store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, server.SecretKey)
	require.NoError(t, err)
	require.Error(t, store.Check(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, store.Put(ctx, "k", "", strings.NewReader(""), 0), context.Canceled)
}

func TestUserPart(t *testing.T) {
	for _, id := range []string{"default", "a", "0_-x", strings.Repeat("a", 63)} {
		require.Equal(t, id, objectstore.UserPart(id))
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "Anna", "../x", "-a", "a/b", "ä", "a\n", strings.Repeat("a", 64)} {
		part := objectstore.UserPart(id)
		require.Regexp(t, `^~[0-9a-f]{32}$`, part)
		require.False(t, seen[part])
		seen[part] = true
	}
}

func TestACertificateThatIsNotTrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	store, err := objectstore.New(t.Context(), &configv1.ObjectStoreConfig{
		Endpoint: server.URL, Bucket: "b", Region: "us-east-1", ForcePathStyle: true, MaxAttempts: 1,
		ConnectTimeout: durationpb.New(time.Minute), ReadTimeout: durationpb.New(time.Minute),
	}, config.NewSecret("access"), config.NewSecret("secret"))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	_, _, getErr := store.Get(t.Context(), "k")
	for name, err := range map[string]error{
		"check":  store.Check(t.Context()),
		"get":    getErr,
		"put":    store.Put(t.Context(), "k", "", strings.NewReader("x"), 1),
		"list":   store.List(t.Context(), "p/", func(objectstore.Object) error { return nil }),
		"delete": store.Delete(t.Context(), "k"),
	} {
		require.ErrorContains(t, err, "SSL_CERT_FILE", name)
	}
}
