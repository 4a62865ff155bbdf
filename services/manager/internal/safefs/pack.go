package safefs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is the most memory an archive may ask for; what Pack writes needs
// less.
const maxWindow = 64 << 20

// Pack writes what is wanted of a folder as one archive, tar in zstd: files,
// folders, and links as they are. Owners are not kept. What cannot be read, and
// devices, pipes and sockets, go to skip.
func Pack(ctx context.Context, w io.Writer, root *os.Root, limits Limits, wanted func(name string, mode fs.FileMode) bool, skip Skip) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	err = Walk(ctx, root, limits, wanted, func(name string, info fs.FileInfo) error {
		return pack(t, root, name, info, skip)
	}, skip)
	if err != nil {
		return err // without the end of the archive
	}
	return errors.Join(t.Close(), z.Close())
}

func pack(t *tar.Writer, root *os.Root, name string, info fs.FileInfo, skip Skip) error {
	switch info.Mode().Type() {
	case fs.ModeDir:
		return t.WriteHeader(header(tar.TypeDir, name+"/", info))
	case fs.ModeSymlink:
		target, err := root.Readlink(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			skip(Skipped{Path: name, Err: err})
			return nil
		}
		h := header(tar.TypeSymlink, name, info)
		h.Linkname = target
		return t.WriteHeader(h)
	default:
		in, info, err := OpenRegular(root, name)
		if err != nil {
			skip(Skipped{Path: name, Err: err})
			return nil
		}
		if in == nil {
			return nil
		}
		defer in.Close()
		h := header(tar.TypeReg, name, info)
		h.Size = info.Size()
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		content := Exactly(in, info.Size())
		if _, err := io.Copy(t, content); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		if err := content.Err(); err != nil {
			skip(Skipped{Path: name, Err: err})
		}
		return nil
	}
}

// header leaves out whose a file is, which means nothing elsewhere. PAX keeps
// times to the nanosecond, by which git and the next export see that nothing
// has changed.
func header(kind byte, name string, info fs.FileInfo) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
}

// StaysInside tells whether a link leads into the folder that it is in, wherever
// that is put.
func StaysInside(name, target string) bool {
	return target != "" && !path.IsAbs(target) && filepath.IsLocal(path.Join(path.Dir(name), target))
}

// Unpack writes an archive of Pack into an empty folder that nobody else uses.
// It refuses whatever Pack does not write: paths that lead out, entries that
// come twice or below something that is no folder, other kinds of files, and
// more than limits allows. Links may lead anywhere: nothing is written through
// them, and who reads the folder follows none. Only one at the top, which may
// be what others open, has to stay inside. perm decides about permissions.
func Unpack(ctx context.Context, r io.Reader, root *os.Root, limits Limits, perm func(fs.FileMode) fs.FileMode) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	u := unpacker{root: root, budget: budget{limits: limits}, perm: perm, known: map[string]bool{".": true}}
	t := tar.NewReader(z)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := u.entry(h, t); err != nil {
			return err
		}
	}
}

type unpacker struct {
	root    *os.Root
	budget  budget
	perm    func(fs.FileMode) fs.FileMode
	known   map[string]bool // folders of the archive
	folders []*tar.Header   // in order
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	if !filepath.IsLocal(name) || path.Clean(name) != name || name == "." {
		return fmt.Errorf("the archive has a path that leads out: %q", h.Name)
	}
	if !u.known[path.Dir(name)] {
		return fmt.Errorf("the archive has %q below what is no folder", h.Name)
	}
	if strings.Count(name, "/") > u.budget.limits.Depth {
		return fmt.Errorf("%w: folders nest deeper than %d", ErrTooLarge, u.budget.limits.Depth)
	}
	if err := u.budget.take(h.FileInfo()); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		// Writable until all is in it.
		if err := u.root.Mkdir(name, 0o700); err != nil {
			return err
		}
		u.known[name] = true
		u.folders = append(u.folders, h)
		return nil
	case tar.TypeSymlink:
		if h.Linkname == "" || path.Dir(name) == "." && !StaysInside(name, h.Linkname) {
			return fmt.Errorf("the archive has a link that leads out: %q to %q", h.Name, h.Linkname)
		}
		return u.root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		return u.file(name, h, content)
	default:
		return fmt.Errorf("the archive has %q of kind %q", h.Name, h.Typeflag)
	}
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	out, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		return errors.Join(fmt.Errorf("unpack %s: %w", name, err), out.Close())
	}
	if err := errors.Join(out.Chmod(u.perm(h.FileInfo().Mode().Perm())), out.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(name, h.ModTime, h.ModTime)
}

// finish gives folders their permissions and times, the innermost first.
func (u *unpacker) finish() error {
	for i := len(u.folders) - 1; i >= 0; i-- {
		h := u.folders[i]
		name := strings.TrimSuffix(h.Name, "/")
		if err := u.root.Chmod(name, u.perm(h.FileInfo().Mode().Perm())); err != nil {
			return err
		}
		if err := u.root.Chtimes(name, h.ModTime, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
