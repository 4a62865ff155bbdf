package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

const (
	s3EndpointVariable  = "POCO_TEST_S3_ENDPOINT"
	s3AccessKeyVariable = "POCO_TEST_S3_ACCESS_KEY"
	s3SecretKeyVariable = "POCO_TEST_S3_SECRET_KEY"
)

// S3Server is an S3 server for tests.
type S3Server struct {
	// Config names the server and a bucket of this test's own.
	Config *configv1.ObjectStoreConfig
	// AccessKey and SecretKey open it.
	AccessKey config.Secret
	SecretKey config.Secret
}

// S3 returns a server that this test process shares, with a new bucket.
// POCO_TEST_S3_ENDPOINT, POCO_TEST_S3_ACCESS_KEY and POCO_TEST_S3_SECRET_KEY
// name a running one instead. Without any, the test is skipped, or fails when
// POCO_TEST_REQUIRE_ALL=1.
func S3(t testing.TB) S3Server {
	t.Helper()
	server, err := sharedS3()
	if errors.Is(err, embedded.ErrNoS3) {
		Missing(t, "needs an S3 server: %v, or set %s", err, s3EndpointVariable)
	}
	if err != nil {
		t.Fatalf("start the S3 server: %v", err)
	}
	out := S3Server{
		Config: &configv1.ObjectStoreConfig{
			Endpoint:       server.endpoint,
			AccessKey:      &configv1.SecretValue{IsSet: true},
			SecretKey:      &configv1.SecretValue{IsSet: true},
			Bucket:         "test-" + strings.ToLower(rand.Text()),
			Region:         "us-east-1",
			ForcePathStyle: true,
			PresignExpires: durationpb.New(5 * time.Minute),
			ConnectTimeout: durationpb.New(5 * time.Second),
			ReadTimeout:    durationpb.New(60 * time.Second),
			MaxAttempts:    3,
		},
		AccessKey: config.NewSecret(server.access),
		SecretKey: config.NewSecret(server.secret),
	}
	store, err := objectstore.New(t.Context(), out.Config, out.AccessKey, out.SecretKey)
	require.NoError(t, err)
	defer store.Close()
	require.NoError(t, store.EnsureBucket(t.Context()))
	return out
}

// ObjectStore returns a store on a new bucket of S3.
func ObjectStore(t testing.TB) *objectstore.Store {
	t.Helper()
	server := S3(t)
	store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, server.SecretKey)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return store
}

type s3Account struct{ endpoint, access, secret string }

var sharedS3 = sync.OnceValues(func() (s3Account, error) {
	if endpoint := os.Getenv(s3EndpointVariable); endpoint != "" {
		return s3Account{endpoint, os.Getenv(s3AccessKeyVariable), os.Getenv(s3SecretKeyVariable)}, nil
	}
	account := s3Account{access: "test-" + rand.Text(), secret: rand.Text()}
	server, err := embedded.StartS3(context.Background(), embedded.S3Options{
		DataDir:    disposableDir("s3"),
		AccessKey:  account.access,
		SecretKey:  account.secret,
		Disposable: true,
	})
	if err != nil {
		return s3Account{}, err
	}
	account.endpoint = server.Endpoint()
	return account, nil
})
