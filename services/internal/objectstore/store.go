// Package objectstore keeps objects in an S3-compatible service.
package objectstore

import (
	"context"
	"errors"
	"io"
	"time"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// ErrNotFound means that there is no such object.
var ErrNotFound = errors.New("object not found")

// Store is one bucket.
type Store struct{}

// Object describes a stored object.
type Object struct {
	// Key is its full key.
	Key string
	// Size is in bytes.
	Size int64
	// ContentType is as stored; lists leave it empty.
	ContentType string
	// ModTime is when it was stored.
	ModTime time.Time
}

// New returns the store that cfg describes. It makes no call; see Check.
func New(ctx context.Context, cfg *configv1.ObjectStoreConfig, access, secret config.Secret) (*Store, error) {
	return &Store{}, nil
}

// Put stores body under key. The size may be -1 when it is not known.
func (s *Store) Put(ctx context.Context, key, contentType string, body io.Reader, size int64) error {
	return nil
}

// PutFile stores the file at path under key.
func (s *Store) PutFile(ctx context.Context, key, contentType, path string) error { return nil }

// Get opens an object; the caller closes it. A missing one is ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, Object, error) {
	return nil, Object{}, ErrNotFound
}

// List calls yield for every object whose key starts with prefix, in key order.
func (s *Store) List(ctx context.Context, prefix string, yield func(Object) error) error { return nil }

// Delete removes objects; missing ones are not an error.
func (s *Store) Delete(ctx context.Context, keys ...string) error { return nil }

// DeletePrefix removes every object whose key starts with prefix, which must
// not be empty.
func (s *Store) DeletePrefix(ctx context.Context, prefix string) error { return nil }

// PresignGet returns a link that works without credentials until it expires.
// The browser is told the file name, and to show it (inline) or save it.
func (s *Store) PresignGet(ctx context.Context, key, filename, contentType string, inline bool) (string, time.Time, error) {
	return "", time.Time{}, nil
}

// Check makes sure that the bucket can be reached.
func (s *Store) Check(ctx context.Context) error { return nil }

// EnsureBucket creates the bucket when it is missing.
func (s *Store) EnsureBucket(ctx context.Context) error { return nil }

// UserPart turns a user id into a part of a path or key: itself when it matches
// [a-z0-9][a-z0-9_-]{0,62}, else a hash.
func UserPart(userID string) string { return userID }
