// Package dotenv makes new .env files.
package dotenv

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/poco-ai/poco/services/internal/config/reference"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

const (
	// secretBytes is the entropy of a generated secret.
	secretBytes = 32
	// fileMode lets nobody but the owner read secrets.
	fileMode fs.FileMode = 0o600
)

// ErrExists means that there is a file already, which is never overwritten.
var ErrExists = errors.New("exists already, and is not overwritten")

// File is a .env file in the making.
type File struct {
	// Generated are the variables whose values have been made up.
	Generated []string
	text      []byte
}

// New makes a file for services on one machine, whose workspaces are below a
// folder. What is required has a value, and secrets have random ones.
func New(services []schema.Service, workspaces string) (*File, error) {
	f := &File{}
	values := reference.Examples(services)
	for _, service := range services {
		for _, s := range service.Settings() {
			if s.GetGenerated() && !slices.Contains(f.Generated, s.GetEnv()) {
				f.Generated = append(f.Generated, s.GetEnv())
				values[s.GetEnv()] = newSecret()
			}
		}
	}
	for name, value := range local(values, workspaces) {
		if _, required := values[name]; required {
			values[name] = value
		}
	}
	var text bytes.Buffer
	if err := reference.DotEnv(&text, services, values); err != nil {
		return nil, fmt.Errorf("write the settings: %w", err)
	}
	f.text = text.Bytes()
	return f, nil
}

// local are the values of a deployment on one machine, where examples are for
// the compose stack.
func local(values map[string]string, workspaces string) map[string]string {
	database := url.URL{Scheme: "postgresql", User: url.User("postgres"), Host: "localhost:5432", Path: "/poco"}
	if password := values["POSTGRES_PASSWORD"]; password != "" {
		database.User = url.UserPassword("postgres", password)
	}
	return map[string]string{
		"DATABASE_URL": database.String(),
		"S3_ENDPOINT":  "http://localhost:9000",
		"BACKEND_URL":  "http://localhost:8000",
		// Without EXECUTOR_IMAGE executors are child processes; who sets one is
		// told what containers need.
		"CALLBACK_BASE_URL": "http://localhost:8001",
		"WORKSPACE_ROOT":    workspaces,
	}
}

// newSecret is URL-safe: it may become a part of DATABASE_URL.
func newSecret() string {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// Write makes the file at a path. Where there is one already, whatever it is, it
// returns ErrExists.
func (f *File) Write(path string) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s %w", filepath.Clean(path), ErrExists)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(f.text)
	if err = errors.Join(err, file.Close()); err != nil {
		// Half a file would keep the next attempt from being made.
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
