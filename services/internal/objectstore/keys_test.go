package objectstore_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

var (
	credential = regexp.MustCompile(`Credential=([^/]+)/`)
	date       = regexp.MustCompile(`X-Amz-Date=\w+`)
)

// TestRotatedKeys: every request is signed with the keys of its moment.
func TestRotatedKeys(t *testing.T) {
	var signedBy string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		signedBy = credential.FindStringSubmatch(r.Header.Get("Authorization"))[1]
	}))
	t.Cleanup(server.Close)
	access, secret := filepath.Join(t.TempDir(), "access"), filepath.Join(t.TempDir(), "secret")
	write := func(path, value string) { require.NoError(t, os.WriteFile(path, []byte(value), 0o600)) }
	write(access, "first-access-key")
	write(secret, "first-secret-key")
	cfg, err := config.Load(&configv1.BackendConfig{}, "backend", config.Sources{Environ: []string{
		"DATABASE_URL=postgres://poco:password@db:5432/poco", "SECRET_KEY=k", "INTERNAL_API_TOKEN=t",
		"S3_ENDPOINT=" + server.URL, "S3_BUCKET=poco", "S3_ACCESS_KEY_FILE=" + access, "S3_SECRET_KEY_FILE=" + secret,
	}})
	require.NoError(t, err)
	store, err := objectstore.New(t.Context(), cfg.Msg.GetObjectStore(), cfg.Secret("S3_ACCESS_KEY"), cfg.Secret("S3_SECRET_KEY"))
	require.NoError(t, err)
	t.Cleanup(store.Close)
	presigned := func(store *objectstore.Store) (link, second string) {
		link, _, err := store.PresignGet(t.Context(), "key", "name", "", false)
		require.NoError(t, err)
		return link, date.FindString(link)
	}
	// requireSignedWith compares with links of the same second.
	requireSignedWith := func(access, secret string) {
		other, err := objectstore.New(t.Context(), cfg.Msg.GetObjectStore(), config.NewSecret(access), config.NewSecret(secret))
		require.NoError(t, err)
		defer other.Close()
		for {
			link, second := presigned(store)
			want, same := presigned(other)
			if second == same {
				require.Equal(t, want, link)
				return
			}
		}
	}

	require.NoError(t, store.Check(t.Context()))
	require.Equal(t, "first-access-key", signedBy)
	requireSignedWith("first-access-key", "first-secret-key")
	write(secret, "second-secret-key")
	cfg.Refresh()
	requireSignedWith("first-access-key", "second-secret-key")
	write(access, "second-access-key")
	cfg.Refresh()
	requireSignedWith("second-access-key", "second-secret-key")
	require.NoError(t, store.Check(t.Context()))
	require.Equal(t, "second-access-key", signedBy)
}
