package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/poco-ai/poco/services/internal/objectstore"
)

const manifestVersion = 1

// manifest lists an export. It is written last: what it names is there.
type manifest struct {
	Version     int            `json:"version"`
	GeneratedAt time.Time      `json:"generated_at"`
	Files       []manifestFile `json:"files"`
}

type manifestFile struct {
	Path         string    `json:"path"`
	Key          string    `json:"key"`
	Size         int64     `json:"size"`
	MimeType     string    `json:"mimeType"`
	Status       string    `json:"status"`
	LastModified time.Time `json:"last_modified"`
	// Volatile marks a file that changed while it was read: it is uploaded again
	// next time whatever its time says.
	Volatile bool `json:"volatile,omitempty"`
}

// previous reads the last export's manifest by path; empty when there is none.
func (e *Exporter) previous(ctx context.Context, key string) (map[string]manifestFile, error) {
	body, _, err := e.opts.Objects.Get(ctx, key)
	if errors.Is(err, objectstore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the previous manifest: %w", err)
	}
	defer body.Close()
	var m manifest
	if err := json.NewDecoder(body).Decode(&m); err != nil || m.Version != manifestVersion {
		return nil, nil // an unreadable manifest only costs uploads
	}
	files := make(map[string]manifestFile, len(m.Files))
	for _, f := range m.Files {
		files[f.Path] = f
	}
	return files, nil
}

// unchanged tells whether a file was uploaded as it is now.
func unchanged(f file, old manifestFile) bool {
	return old.Path == f.path && !old.Volatile && old.Size == f.size && old.LastModified.Equal(f.modTime)
}

// goneFrom returns what the last export had and the workspace has no more.
func goneFrom(old map[string]manifestFile, files []file) []manifestFile {
	var gone []manifestFile
	now := make(map[string]bool, len(files))
	for _, f := range files {
		now[f.path] = true
	}
	for name, f := range old {
		if !now[name] {
			gone = append(gone, f)
		}
	}
	return gone
}

// inTheWay returns the keys of gone files that are folders now, or that are in
// a folder that is a file now.
func inTheWay(gone []manifestFile, files []file) []string {
	if len(gone) == 0 {
		return nil
	}
	names, folders := make(map[string]bool, len(files)), make(map[string]bool)
	for _, f := range files {
		names[f.path] = true
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	var keys []string
	for _, f := range gone {
		blocked := folders[f.Path]
		for dir := path.Dir(f.Path); dir != "." && dir != "/"; dir = path.Dir(dir) {
			blocked = blocked || names[dir]
		}
		if blocked {
			keys = append(keys, f.Key)
		}
	}
	return keys
}

func keysOf(files []manifestFile) []string {
	keys := make([]string, 0, len(files))
	for _, f := range files {
		keys = append(keys, f.Key)
	}
	return keys
}
