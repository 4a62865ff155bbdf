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
	Version     int               `json:"version"`
	GeneratedAt time.Time         `json:"generated_at"`
	Files       []manifestFile    `json:"files"`
	Links       []manifestLink    `json:"links,omitempty"`
	Missing     []manifestMissing `json:"missing,omitempty"`
	// MissingCount is above the length of Missing when that is cut.
	MissingCount int64 `json:"missing_count,omitempty"`
}

type manifestFile struct {
	Path string `json:"path"`
	// PathBytes is the path where it is not UTF-8, for which Path has \xff.
	PathBytes    []byte    `json:"path_bytes,omitempty"`
	Key          string    `json:"key"`
	Size         int64     `json:"size"`
	MimeType     string    `json:"mimeType"`
	Status       string    `json:"status"`
	LastModified time.Time `json:"last_modified"`
	// Volatile marks a file that changed while it was read: it is uploaded again
	// next time whatever its time says.
	Volatile bool `json:"volatile,omitempty"`
	// ArchivePath is the file's name in the archive where that is another one.
	ArchivePath string `json:"archive_path,omitempty"`
}

// name is the path as the file system has it.
func (f *manifestFile) name() string {
	if len(f.PathBytes) > 0 {
		return string(f.PathBytes)
	}
	return f.Path
}

// setName sets the path from what the file system has.
func (f *manifestFile) setName(name string) {
	if f.Path = display(name); f.Path != name {
		f.PathBytes = []byte(name)
	}
}

// manifestLink is a symbolic link, which is in the archive only.
type manifestLink struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// manifestMissing is a path that is not exported.
type manifestMissing struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func newManifest(files []manifestFile, links []link, lacks *missing) manifest {
	m := manifest{Version: manifestVersion, GeneratedAt: time.Now().UTC(), Files: files, MissingCount: lacks.count()}
	for _, l := range links {
		m.Links = append(m.Links, manifestLink{Path: display(l.path), Target: display(l.target)})
	}
	for _, s := range lacks.sorted() {
		m.Missing = append(m.Missing, manifestMissing{Path: display(s.Path), Reason: why(s.Err)})
	}
	return m
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
		files[f.name()] = f
	}
	return files, nil
}

// unchanged tells whether a file was uploaded as it is now.
func unchanged(f file, old manifestFile) bool {
	return !old.Volatile && old.Size == f.size && old.LastModified.Equal(f.modTime)
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
		name := f.name()
		blocked := folders[name]
		for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
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
