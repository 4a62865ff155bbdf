package workspace

import (
	"archive/tar"
	"compress/gzip"
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

	"github.com/poco-ai/poco/services/manager/internal/safefs"
)

// maxInputEntries bounds the files of one repository.
const maxInputEntries = 200_000

// unpack puts a repository, which comes as tar in gzip, in place of what is
// there: in one step, so that a broken download is never taken for it. Links
// that lead out of the repository are left out.
func (s *Store) unpack(ctx context.Context, root *os.Root, name string, body io.Reader) (err error) {
	if err := s.inputsFolder(root); err != nil {
		return err
	}
	if err := s.mkdirAll(root, filepath.Dir(name)); err != nil {
		return err
	}
	part := path.Join(filepath.Dir(name), ".poco-part-"+rand.Text())
	if err := s.mkdirAll(root, part); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.RemoveAll(part)) }()
	z, err := gzip.NewReader(body)
	if err != nil {
		return fmt.Errorf("is no repository's archive: %w", err)
	}
	t := tar.NewReader(z)
	left := int64(MaxInputBytes)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if left -= h.Size; left < 0 || n == maxInputEntries {
			return fmt.Errorf("has more than %d bytes or %d files", int64(MaxInputBytes), maxInputEntries)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.unpackEntry(root, part, h, t); err != nil {
			return err
		}
	}
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	return root.Rename(part, name)
}

func (s *Store) unpackEntry(root *os.Root, part string, h *tar.Header, content io.Reader) error {
	// All of it is in one folder.
	_, rel, _ := strings.Cut(strings.TrimSuffix(h.Name, "/"), "/")
	if rel == "" {
		return nil
	}
	if !filepath.IsLocal(rel) {
		return fmt.Errorf("has a path that leads out: %q", h.Name)
	}
	name := path.Join(part, rel)
	switch h.Typeflag {
	case tar.TypeDir:
		return s.mkdirAll(root, name)
	case tar.TypeReg, tar.TypeSymlink:
	default:
		return nil
	}
	if err := s.mkdirAll(root, path.Dir(name)); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		if !safefs.StaysInside(rel, h.Linkname) {
			return nil
		}
		return root.Symlink(h.Linkname, name)
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644|fs.FileMode(h.Mode)&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return s.ownIn(root, name)
}
