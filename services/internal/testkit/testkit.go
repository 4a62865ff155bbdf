// Package testkit gives tests the real servers they need.
package testkit

import (
	"testing"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

// Postgres returns the URL of a database on a server that this test process
// shares, with the right to create databases. POCO_TEST_DATABASE_URL names a
// running one instead. Without any, the test is skipped, or fails when
// POCO_TEST_REQUIRE_ALL=1.
func Postgres(t testing.TB) string { return "" }

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
func S3(t testing.TB) S3Server { return S3Server{} }

// ObjectStore returns a store on a new bucket of S3.
func ObjectStore(t testing.TB) *objectstore.Store { return nil }

// FreePort returns a port of 127.0.0.1 that was free a moment ago. Prefer
// handing over a listener.
func FreePort(t testing.TB) int { return 0 }
