// Package localstack is what the processes of one user on one machine know of
// their "poco up": who uses its data folder, where its services listen, and the
// token that opens them.
package localstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// Names in the data folder.
const (
	lockFile     = "lock"
	occupantFile = "running.json"
	tokenFile    = "client-token"
)

// Occupant is what the process that holds a data folder says of itself.
type Occupant struct {
	PID int `json:"pid"`
	// URL is that of the page.
	URL string `json:"url"`
	// Where the services listen, host:port.
	Backend  string `json:"backend"`
	Manager  string `json:"manager"`
	Frontend string `json:"frontend"`
}

// Lock is the lock that the process holds.
func Lock(dir string) *flock.Flock { return flock.New(filepath.Join(dir, lockFile)) }

// ReadOccupant returns what the process that holds the folder, or did last and
// was killed, has said. Without one the error is os.ErrNotExist.
func ReadOccupant(dir string) (Occupant, error) {
	var o Occupant
	path := filepath.Join(dir, occupantFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return o, nil
}

// Write notes who uses the folder.
func (o Occupant) Write(dir string) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return WritePrivate(filepath.Join(dir, occupantFile), text)
}

// RemoveOccupant says that nobody uses the folder any more.
func RemoveOccupant(dir string) error {
	if err := os.Remove(filepath.Join(dir, occupantFile)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// WritePrivate writes a file that only its owner can read, and never leaves half
// of it behind.
func WritePrivate(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
