package stack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/poco-ai/poco/services/internal/embedded"
	"github.com/poco-ai/poco/services/poco/internal/localstack"
)

// DefaultDataDir is where everything is kept when nobody says otherwise: as
// root below /var/lib, whose parents the user of Postgres can pass; else in
// the user's data folder (dataHome, or ~/.local/share).
func DefaultDataDir(dataHome string) (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/poco", nil
	}
	if !filepath.IsAbs(dataHome) { // the XDG specification: relative is unset
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the data folder: %w (name one with --data-dir)", err)
		}
		dataHome = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(dataHome, "poco"), nil
}

// dataDirMode lets others pass the folder (the user of Postgres has to) but not
// list it.
const dataDirMode = 0o711

// Another command of this user holds the lock for the moment in which it looks
// whether anybody does.
const (
	lockTimeout = 500 * time.Millisecond
	lockPoll    = 10 * time.Millisecond
)

// dataDir is the folder of one Poco, locked for this process.
type dataDir struct {
	path string
	lock *flock.Flock
	// unclean tells that the last process using it did not end in order.
	unclean bool
}

// openDataDir creates and locks the folder.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, dataDirMode); err != nil {
		return nil, fmt.Errorf("create the data folder: %w (choose another with --data-dir)", err)
	}
	if err := embedded.CheckDataDir(filepath.Join(path, "postgres")); err != nil {
		return nil, err
	}
	if err := localstack.CheckFolder(path); err != nil {
		return nil, err
	}
	d := &dataDir{path: path, lock: localstack.Lock(path)}
	trying, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	locked, err := d.lock.TryLockContext(trying, lockPoll)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	other, err := localstack.ReadOccupant(path)
	known := err == nil
	if !locked {
		who := "another poco"
		if known {
			who = fmt.Sprintf("another poco (process %d, %s)", other.PID, other.URL)
		}
		return nil, fmt.Errorf("%s is using the data folder %s: use that one, stop it, or choose another folder with --data-dir", who, path)
	}
	d.unclean = known
	return d, nil
}

func (d *dataDir) in(names ...string) string {
	return filepath.Join(append([]string{d.path}, names...)...)
}

// occupy notes who uses the folder, for other processes of this user to tell.
func (d *dataDir) occupy(o localstack.Occupant) error {
	o.PID = os.Getpid()
	return o.Write(d.path)
}

// release unlocks the folder; clean means that nothing was left running.
func (d *dataDir) release(clean bool) error {
	var err error
	if clean {
		err = localstack.RemoveOccupant(d.path)
	}
	return errors.Join(err, d.lock.Unlock())
}

// secrets are generated once and kept in the data folder.
type secrets struct {
	SecretKey        string `json:"SECRET_KEY"`
	InternalAPIToken string `json:"INTERNAL_API_TOKEN"`
	PostgresPassword string `json:"POSTGRES_PASSWORD"`
	S3AccessKey      string `json:"S3_ACCESS_KEY"`
	S3SecretKey      string `json:"S3_SECRET_KEY"`
}

func newSecrets() secrets {
	return secrets{
		SecretKey: rand.Text() + rand.Text(), InternalAPIToken: rand.Text() + rand.Text(),
		PostgresPassword: rand.Text(), S3AccessKey: rand.Text()[:20], S3SecretKey: rand.Text() + rand.Text(),
	}
}

// secrets reads the folder's secrets, and makes them the first time. The file
// is for its owner only.
func (d *dataDir) secrets() (secrets, error) {
	path := d.in("secrets.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		s := newSecrets()
		return s, writeSecrets(path, s)
	}
	if err != nil {
		return secrets{}, fmt.Errorf("read the secrets: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return secrets{}, fmt.Errorf("protect the secrets: %w", err)
	}
	var s secrets
	if err := json.Unmarshal(text, &s); err != nil {
		return secrets{}, fmt.Errorf("%s is not readable as JSON: restore it, or choose another data folder", path)
	}
	if s.SecretKey == "" || s.InternalAPIToken == "" || s.PostgresPassword == "" || s.S3AccessKey == "" || s.S3SecretKey == "" {
		return secrets{}, fmt.Errorf("%s lacks a secret: restore it, or choose another data folder", path)
	}
	return s, nil
}

func writeSecrets(path string, s secrets) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := localstack.WritePrivate(path, text); err != nil {
		return fmt.Errorf("keep the secrets: %w", err)
	}
	return nil
}
