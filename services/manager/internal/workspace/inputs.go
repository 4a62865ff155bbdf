package workspace

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
)

// maxInputBytes bounds one input file.
const maxInputBytes = 2 << 30

// inputTypeFile marks an uploaded file; repositories and URLs are fetched by
// the executor, inside its sandbox.
const inputTypeFile = "file"

// Objects is where uploaded input files come from, and where snapshots are.
type Objects interface {
	Get(ctx context.Context, key string) (io.ReadCloser, objectstore.Object, error)
	Delete(ctx context.Context, keys ...string) error
}

// StageInputs puts a run's uploaded files under inputs/ of its workspace.
func (s *Store) StageInputs(ctx context.Context, userID, sessionID string, files []*backendv1.InputFile) error {
	var wanted []*backendv1.InputFile
	for _, f := range files {
		if f.GetType() == inputTypeFile {
			wanted = append(wanted, f)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	root, err := s.OpenWorkspace(userID, sessionID)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range wanted {
		if err := s.stage(ctx, root, userID, f); err != nil {
			return fmt.Errorf("input file %q: %w", f.GetName(), err)
		}
	}
	return nil
}

func (s *Store) stage(ctx context.Context, root *os.Root, userID string, f *backendv1.InputFile) error {
	// The key came with the request: it must be one of the user's own uploads.
	own := objectstore.AttachmentPrefix(userID)
	if !strings.HasPrefix(f.GetSource(), own) || path.Clean(f.GetSource()) != f.GetSource() {
		return errors.New("is not an attachment of this user")
	}
	rel := f.GetPath()
	if rel == "" {
		rel = f.GetName()
	}
	if !filepath.IsLocal(rel) {
		return fmt.Errorf("path %q leads out of the workspace", rel)
	}
	body, object, err := s.objects.Get(ctx, f.GetSource())
	if err != nil {
		return fmt.Errorf("cannot be read from object storage: %w", err)
	}
	defer body.Close()
	if object.Size > maxInputBytes {
		return fmt.Errorf("has %d bytes, more than %d", object.Size, int64(maxInputBytes))
	}
	return s.write(root, filepath.Join(inputsDir, rel), io.LimitReader(body, maxInputBytes))
}

// write puts a file in place in one step, so that a broken download is never
// taken for the file. The part's name cannot be known before: the agent could
// have put a FIFO there, which would never be opened.
func (s *Store) write(root *os.Root, name string, body io.Reader) (err error) {
	if err := s.inputsFolder(root); err != nil {
		return err
	}
	if err := s.mkdirAll(root, filepath.Dir(name)); err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(name), ".poco-part-"+rand.Text())
	out, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(tmp))
		}
	}()
	if _, err := io.Copy(out, body); err != nil {
		return errors.Join(err, out.Close())
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := s.ownIn(root, tmp); err != nil {
		return err
	}
	return root.Rename(tmp, name)
}

// inputsFolder removes a link that the agent has put where the folder for
// inputs belongs: else no input file could ever be added again.
func (s *Store) inputsFolder(root *os.Root) error {
	info, err := root.Lstat(inputsDir)
	if err == nil && info.Mode().Type() == fs.ModeSymlink {
		return root.Remove(inputsDir)
	}
	return nil // a missing folder is made, all else is told by what follows
}

// mkdirAll makes folders one by one: each new one is given to the executor's
// user.
func (s *Store) mkdirAll(root *os.Root, dir string) error {
	current := ""
	for part := range strings.SplitSeq(filepath.ToSlash(dir), "/") {
		current = path.Join(current, part)
		err := root.Mkdir(current, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.ownIn(root, current); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) ownIn(root *os.Root, name string) error {
	switch {
	case s.uid < 0 || s.uid == os.Geteuid():
		return nil
	case os.Geteuid() == 0:
		return root.Lchown(name, s.uid, s.gid)
	default:
		return root.Chmod(name, 0o777)
	}
}
