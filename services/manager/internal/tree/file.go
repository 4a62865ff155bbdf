package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// OpenRegular opens a file that is still there and still regular; nil when it
// is not. It never blocks on a FIFO that took the file's place.
func OpenRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	in, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	info, err = in.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil, errors.Join(err, in.Close())
	}
	return in, info, nil
}

// Exactly reads size bytes of a file, whatever becomes of it meanwhile: one
// that grows is cut, one that shrinks is filled up with zeros.
func Exactly(in io.ReaderAt, size int64) io.Reader {
	return &fullReader{r: io.NewSectionReader(in, 0, size), left: size}
}

// fullReader goes on with zeros when its file has become shorter than it was.
type fullReader struct {
	r    io.Reader
	left int64
}

func (f *fullReader) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.left)]
	n, err := f.r.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		clear(p)
		n, err = len(p), nil
	}
	f.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
