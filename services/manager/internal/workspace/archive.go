package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/poco-ai/poco/services/internal/objectstore"
)

// Outcomes of Retire that are no failures.
var (
	// ErrInUse: the workspace was used in the meantime.
	ErrInUse = errors.New("the workspace is in use")
	// ErrNotKept: no snapshot shows the workspace as it is.
	ErrNotKept = errors.New("there is no snapshot of the workspace as it is")
)

// Retire takes a workspace that was not used since a time out of use, in one
// step: from then on the session has none on this disk. With archive, only one
// whose snapshot shows it as it is. EmptyArchive frees the disk.
//
// The caller makes sure that no run of the session begins meanwhile.
func (s *Store) Retire(userPath, sessionID string, since time.Time, archive bool) error {
	dir := filepath.Join(s.root, activeDir, userPath, sessionID)
	meta, err := readMeta(dir)
	if err != nil {
		return fmt.Errorf("nobody knows how old it is: %w", err)
	}
	if !meta.LastUsedAt.Before(since) {
		return ErrInUse
	}
	meta.ArchivedAt = time.Time{}
	if archive {
		if meta.SnapshotKey == "" || !meta.SnapshotCurrent {
			return ErrNotKept
		}
		meta.ArchivedAt = time.Now().UTC()
	}
	to := filepath.Join(s.root, archivedDir, userPath, sessionID)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return errors.New("an earlier archive of it is still being emptied")
	}
	if err := writeMeta(dir, meta); err != nil {
		return err
	}
	return os.Rename(dir, to)
}

// EmptyArchive removes the files of retired workspaces from the disk, and the
// snapshots that were archived before a time or are not to be kept.
func (s *Store) EmptyArchive(ctx context.Context, before time.Time) error {
	var failures []error
	err := s.each(archivedDir, "", func(user, session string) bool {
		if err := s.emptyOne(ctx, filepath.Join(s.root, archivedDir, user, session), before); err != nil {
			failures = append(failures, fmt.Errorf("session %s: %w", session, err))
		}
		return ctx.Err() == nil
	})
	return errors.Join(append(failures, err)...)
}

func (s *Store) emptyOne(ctx context.Context, dir string, before time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != metaName {
			if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	meta, err := readMeta(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !meta.ArchivedAt.Before(before) {
		return nil
	}
	if meta.SnapshotKey != "" {
		if err := s.objects.Delete(ctx, meta.SnapshotKey); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// Remove removes all that this disk has of a session, in use before or retired;
// nothing is left to restore it from. The caller makes sure that nobody works in
// it.
func (s *Store) Remove(userID, sessionID string) error {
	// The id becomes a path: nothing but a UUID may.
	if _, err := uuid.Parse(sessionID); err != nil {
		return fmt.Errorf("session id %q is not a UUID", sessionID)
	}
	var errs []error
	for _, dir := range []string{activeDir, archivedDir} {
		err := removeAll(filepath.Join(s.root, dir, objectstore.UserPart(userID), sessionID))
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
