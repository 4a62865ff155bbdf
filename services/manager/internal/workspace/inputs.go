package workspace

import (
	"cmp"
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
	"unicode"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/manager/internal/fetch"
)

// MaxInputBytes bounds one input file.
const MaxInputBytes = 2 << 30

// Objects is where uploaded input files come from, and where snapshots are.
type Objects interface {
	Get(ctx context.Context, key string) (io.ReadCloser, objectstore.Object, error)
	Delete(ctx context.Context, keys ...string) error
}

// Web is where input files come from that are named by their URL.
type Web interface {
	Get(ctx context.Context, url string) (*fetch.File, error)
}

// StageInputs puts a run's input files under inputs/ of its workspace, and
// returns them with the paths that they have there.
func (s *Store) StageInputs(ctx context.Context, userID, sessionID string, web Web, files []*backendv1.InputFile) ([]*backendv1.InputFile, error) {
	if len(files) == 0 {
		return nil, nil
	}
	root, err := s.OpenWorkspace(userID, sessionID)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	staged := make([]*backendv1.InputFile, 0, len(files))
	taken := takenPaths{}
	for _, f := range files {
		if f.GetPath() != "" && !taken.take(f.GetPath()) {
			return nil, fmt.Errorf("input file %q: path %q is that of another input file", called(f), f.GetPath())
		}
	}
	for _, f := range files {
		at := proto.CloneOf(f)
		switch f.GetSource().(type) {
		case *backendv1.InputFile_Attachment:
			at.Path = cmp.Or(f.GetPath(), taken.free(f.GetName()))
			err = s.stage(ctx, root, userID, at)
		case *backendv1.InputFile_Url:
			err = s.download(ctx, root, web, at, taken)
		default:
			err = errors.New("is from where this version does not know")
		}
		if err != nil {
			return nil, fmt.Errorf("input file %q: %w", called(f), err)
		}
		staged = append(staged, at)
	}
	return staged, nil
}

// called is what an input file is called in messages.
func called(f *backendv1.InputFile) string {
	return cmp.Or(f.GetName(), f.GetUrl(), f.GetAttachment(), f.GetPath())
}

// takenPaths are the paths below inputs/ that input files of the run have.
type takenPaths map[string]bool

// take tells whether a path was free.
func (t takenPaths) take(name string) bool {
	name = path.Clean(name)
	if t[name] {
		return false
	}
	t[name] = true
	return true
}

// free takes a path for a file whose name says nothing of where it has to be:
// two that are called the same are both there. "" stays empty.
func (t takenPaths) free(name string) string {
	ext := path.Ext(name)
	stem, free := strings.TrimSuffix(name, ext), name
	for n := 2; name != "" && !t.take(free); n++ {
		free = fmt.Sprintf("%s-%d%s", stem, n, ext)
	}
	return free
}

func (s *Store) stage(ctx context.Context, root *os.Root, userID string, f *backendv1.InputFile) error {
	// The key came with the request: it must be one of the user's own uploads.
	own := objectstore.AttachmentPrefix(userID)
	if !strings.HasPrefix(f.GetAttachment(), own) || path.Clean(f.GetAttachment()) != f.GetAttachment() {
		return errors.New("is not an attachment of this user")
	}
	if !filepath.IsLocal(f.GetPath()) {
		return fmt.Errorf("path %q leads out of the workspace", f.GetPath())
	}
	body, object, err := s.objects.Get(ctx, f.GetAttachment())
	if err != nil {
		return fmt.Errorf("cannot be read from object storage: %w", err)
	}
	defer body.Close()
	if object.Size > MaxInputBytes {
		return fmt.Errorf("has %d bytes, more than %d", object.Size, int64(MaxInputBytes))
	}
	return s.write(root, filepath.Join(inputsDir, f.GetPath()), io.LimitReader(body, MaxInputBytes))
}

// download fetches what a URL leads to. A file that has no name in the request
// is called what it is called where it comes from.
func (s *Store) download(ctx context.Context, root *os.Root, web Web, f *backendv1.InputFile, taken takenPaths) error {
	file, err := web.Get(ctx, f.GetUrl())
	if err != nil {
		return fmt.Errorf("cannot be fetched: %w", err)
	}
	defer file.Body.Close()
	if f.GetPath() == "" {
		f.Path = taken.free(cmp.Or(f.GetName(), file.Name))
	}
	if !filepath.IsLocal(f.GetPath()) || filepath.Clean(f.GetPath()) == "." || strings.ContainsFunc(f.GetPath(), unicode.IsControl) {
		return fmt.Errorf("path %q leads out of the workspace", f.GetPath())
	}
	name := filepath.Join(inputsDir, f.GetPath())
	if file.Tree {
		return s.unpack(ctx, root, name, file.Body)
	}
	return s.write(root, name, file.Body)
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
