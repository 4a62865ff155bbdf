package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/poco-ai/poco/services/internal/disk"
)

// Meta is what is remembered about a workspace besides its files.
type Meta struct {
	SessionID string `json:"session_id"`
	UserID    string `json:"user_id"`
	// RunID is the last run that the workspace was prepared for.
	RunID     string    `json:"run_id"`
	CreatedAt time.Time `json:"created_at"`
	// LastUsedAt is when the last run was prepared or, later, has ended.
	LastUsedAt time.Time `json:"last_used_at"`
	// SnapshotKey is the object that the workspace was last kept as.
	SnapshotKey string `json:"snapshot_key,omitempty"`
	// SnapshotCurrent says that the snapshot shows the workspace as it is.
	SnapshotCurrent bool `json:"snapshot_current,omitempty"`
	// ArchivedAt is when the workspace was removed; zero when its snapshot is not
	// to be kept.
	ArchivedAt time.Time `json:"archived_at,omitzero"`
}

// Ended notes the end of a run, from which a workspace's age is counted.
func (s *Store) Ended(userID, sessionID string) error {
	return s.change(userID, sessionID, func(m *Meta) { m.LastUsedAt = time.Now().UTC() })
}

// Snapshotted notes a snapshot of the workspace; complete says that it shows all
// of it, so that the workspace may be removed.
func (s *Store) Snapshotted(userID, sessionID, key string, complete bool) error {
	return s.change(userID, sessionID, func(m *Meta) { m.SnapshotKey, m.SnapshotCurrent = key, complete })
}

// change updates a workspace's meta.json. The caller is the only one to work on
// the session.
func (s *Store) change(userID, sessionID string, change func(*Meta)) error {
	dir := s.SessionDir(userID, sessionID)
	now := time.Now().UTC()
	meta, err := readMeta(dir)
	if err != nil || meta.CreatedAt.IsZero() {
		meta = Meta{CreatedAt: now, LastUsedAt: now}
	}
	meta.SessionID, meta.UserID, meta.ArchivedAt = sessionID, userID, time.Time{}
	change(&meta)
	return writeMeta(dir, meta)
}

// writeMeta replaces a meta.json. On a full disk it makes room by removing the
// one before, and does without when that is not enough: a workspace without one
// is never cleaned up, and the next run writes it again.
func writeMeta(dir string, meta Meta) error {
	b, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, metaName)
	err = replace(path, append(b, '\n'))
	if disk.Full(err) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("workspace cannot be described: %w", err)
		}
		err = replace(path, append(b, '\n'))
	}
	if err != nil && !disk.Full(err) {
		return fmt.Errorf("workspace cannot be described: %w", err)
	}
	return nil
}

// replace writes a file so that a crash does not leave half of it.
func replace(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o644); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}

func readMeta(dir string) (Meta, error) {
	b, err := os.ReadFile(filepath.Join(dir, metaName))
	if err != nil {
		return Meta{}, err
	}
	var m Meta
	return m, json.Unmarshal(b, &m)
}
