// Package identity keeps who a manager is: its worker id, which survives
// restarts, and the key its run and executor tokens are made with.
package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/uuid"
)

// Files of the identity, below WORKSPACE_ROOT.
const (
	dirName  = ".worker"
	lockName = "lock"
	idName   = "id"
	keyName  = "key"
	// keyBytes is the size of the token key: what HMAC-SHA256 can use.
	keyBytes = 32
)

// ErrInUse means that another manager works in the same WORKSPACE_ROOT.
var ErrInUse = errors.New("another manager already uses this WORKSPACE_ROOT")

// Identity is a manager's own. It holds the lock of its folder until Close.
type Identity struct {
	// WorkerID names the manager in the queue.
	WorkerID string

	key  []byte
	lock *flock.Flock
}

// Open takes the identity kept under root, making one the first time, and
// locks it for the life of the process: two managers in one folder would
// adopt each other's runs. workerID overrides the kept one when not empty.
func Open(root, workerID string) (*Identity, error) {
	dir := filepath.Join(root, dirName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("WORKSPACE_ROOT %s is not usable: %w", root, err)
	}
	lock := flock.New(filepath.Join(dir, lockName))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("WORKSPACE_ROOT %s cannot be locked: %w", root, err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: %s; stop that manager or set another WORKSPACE_ROOT", ErrInUse, root)
	}
	id, err := load(dir, workerID)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	id.lock = lock
	return id, nil
}

func load(dir, workerID string) (*Identity, error) {
	key, err := readOrCreate(filepath.Join(dir, keyName), func() []byte {
		key := make([]byte, keyBytes)
		_, _ = rand.Read(key) // never fails, see crypto/rand
		return key
	})
	if err != nil {
		return nil, err
	}
	if len(key) != keyBytes {
		return nil, fmt.Errorf("%s has %d bytes instead of %d: remove it to get a new one", filepath.Join(dir, keyName), len(key), keyBytes)
	}
	kept, err := readOrCreate(filepath.Join(dir, idName), func() []byte { return []byte(uuid.NewString() + "\n") })
	if err != nil {
		return nil, err
	}
	if workerID == "" {
		workerID = strings.TrimSpace(string(kept))
	}
	if workerID == "" {
		return nil, fmt.Errorf("%s is empty: remove it to get a new worker id", filepath.Join(dir, idName))
	}
	return &Identity{WorkerID: workerID, key: key}, nil
}

// readOrCreate writes through a temporary file, so that a crash leaves the
// whole content or none.
func readOrCreate(path string, content func() []byte) ([]byte, error) {
	b, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	b = content()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return nil, err
	}
	return b, os.Rename(tmp, path)
}

// Close gives the lock back.
func (i *Identity) Close() error {
	return i.lock.Unlock()
}
