package safefs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// errChanged: a file has become something else since it was found.
var errChanged = errors.New("is no regular file any more")

// OpenRegular opens a file that is still regular; nil when it has vanished. It
// never blocks on a FIFO that took the file's place.
func OpenRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, errChanged
	}
	if err != nil {
		return nil, nil, err
	}
	in, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	info, err = in.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errChanged
	}
	if err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	return in, info, nil
}

// Exactly reads size bytes of a file, whatever becomes of it meanwhile: one
// that grows is cut; one that shrinks, or cannot be read on, is filled up with
// zeros.
func Exactly(in io.ReaderAt, size int64) *Content {
	return &Content{r: io.NewSectionReader(in, 0, size), left: size}
}

// Content is a file's content of a size that is known before.
type Content struct {
	r    io.Reader
	left int64
	err  error
}

// Err is why the file could not be read on, if so. Ask when all is read.
func (c *Content) Err() error { return c.err }

// Read implements io.Reader.
func (c *Content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), c.left)]
	n, err := 0, c.err
	if err == nil {
		n, err = c.r.Read(p)
		if err != nil && !errors.Is(err, io.EOF) {
			c.err = err
		}
	}
	if n == 0 && err != nil {
		clear(p)
		n = len(p)
	}
	c.left -= int64(n)
	return n, nil
}
