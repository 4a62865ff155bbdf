package recorder

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // Git's names of objects; nothing is proven by them.
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what is read and kept.
const (
	// maxContent is the largest file whose content is kept and compared.
	maxContent = 16 << 20
	// maxHashed is the largest file that is read at all. A larger one counts as
	// changed when its size or time has.
	maxHashed = 1 << 30
	// maxKeptTracked is how much is kept at the beginning of a run of what a
	// repository tracks, and so has as well; maxKept how much of all else, and of
	// what the run changes.
	maxKeptTracked = 256 << 20
	maxKept        = 1 << 30
	// sniffed is where Git looks for a NUL, which makes a file a binary one.
	sniffed = 8000
)

var errChanging = errors.New("it is no file any more")

// mayKeep tells whether a file's content is to be kept, and takes it from what
// may be. What is as it was at the start of the run is there or was left out.
func (s *scan) mayKeep(name string, e *entry, tracked bool) bool {
	if s.start != nil {
		if before, ok := s.start.Files[name]; ok && before.ID == e.ID {
			return false
		}
	}
	left := &s.keepOther
	if tracked && s.start == nil {
		left = &s.keepTracked
	}
	if e.Size > maxContent || e.Size > *left {
		return false
	}
	*left -= e.Size
	return true
}

// has tells whether the content of a file that was kept is still there.
func (r *Recorder) has(e *entry) bool {
	if !e.Kept {
		return true
	}
	_, err := os.Lstat(r.objects.path(e.ID))
	return err == nil
}

// read reads a file or a link. With an error and an ID, only its content could
// not be kept.
func (v *visit) read(at int, base, name string, tracked bool) (entry, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return entry{}, os.NewSyscallError("stat", err)
	}
	var e entry
	var content []byte
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		e = describe(&st, time.Now())
		content, err = readLink(at, base)
		e.Size, e.ID = int64(len(content)), sum("blob", content)
	} else {
		e, content, err = readFile(v.ctx, at, base)
	}
	if err != nil {
		return entry{}, err
	}
	if v.start != nil {
		if before, ok := v.start.Files[name]; ok && before.ID == e.ID {
			e.Kept = before.Kept
			return e, nil
		}
	}
	if content == nil && e.Size > 0 || !v.mayKeep(name, &e, tracked) {
		return e, nil
	}
	if _, err := v.r.objects.put("blob", content); err != nil {
		return e, fmt.Errorf("its content could not be kept: %w", err)
	}
	e.Kept = true
	return e, nil
}

func readLink(at int, base string) ([]byte, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(at, base, target)
	if err != nil {
		return nil, os.NewSyscallError("readlink", err)
	}
	return target[:n], nil
}

// readFile reads a file, whatever becomes of it meanwhile. content is nil when
// it is too large to be kept.
func readFile(ctx context.Context, at int, base string) (e entry, content []byte, err error) {
	fd, err := unix.Openat(at, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return entry{}, nil, os.NewSyscallError("open", err)
	}
	file := os.NewFile(uintptr(fd), base)
	defer file.Close()
	var before, after unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return entry{}, nil, os.NewSyscallError("stat", err)
	}
	if before.Mode&unix.S_IFMT != unix.S_IFREG {
		return entry{}, nil, errChanging
	}
	e = describe(&before, time.Now())
	if e.Size > maxContent {
		e.ID, e.Binary, err = hashFile(ctx, file, &e)
	} else if content, err = io.ReadAll(io.LimitReader(file, maxContent)); err == nil {
		e.Size, e.ID, e.Binary = int64(len(content)), sum("blob", content), isBinary(content)
	}
	if err != nil {
		return entry{}, nil, err
	}
	if err := unix.Fstat(fd, &after); err != nil || after.Size != e.Size || after.Mtim != before.Mtim {
		e.Settled = false // It is being written: read it again the next time.
	}
	return e, content, nil
}

// hashFile names the content of a file that is too large to be kept.
func hashFile(ctx context.Context, file io.Reader, e *entry) (name id, binary bool, err error) {
	head := make([]byte, sniffed)
	n, err := io.ReadFull(file, head)
	if err != nil {
		return id{}, false, err
	}
	binary = isBinary(head[:n])
	if e.Size > maxHashed {
		return e.unread(), binary, nil
	}
	h := sha1.New() //nolint:gosec // As above.
	fmt.Fprintf(h, "blob %d\x00", e.Size)
	h.Write(head[:n])
	_, err = io.Copy(h, io.LimitReader(untilDone{ctx, file}, e.Size-int64(n)))
	return id(h.Sum(nil)), binary, err
}

func isBinary(content []byte) bool {
	return bytes.IndexByte(content[:min(len(content), sniffed)], 0) >= 0
}

// untilDone is a reader that ends with a context.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}
