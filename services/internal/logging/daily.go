package logging

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// dayFormat is the suffix of a rotated file: the UTC day whose lines it has.
const dayFormat = "2006-01-02"

// dailyFile is a log file that is rotated at UTC midnight, at the first line
// of the new day. lumberjack, the usual library, rotates by size only, and a
// timer that tells it when to would race with the lines around midnight.
type dailyFile struct {
	path string
	keep int
	now  func() time.Time

	mu   sync.Mutex
	file *os.File
	day  string
}

func openDaily(path string, keep int) (*dailyFile, error) {
	d := &dailyFile{path: path, keep: keep, now: time.Now}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return d, d.open()
}

// open opens the file, or goes on with the one that is there; the day of its
// last line decides when it is rotated.
func (d *dailyFile) open() error {
	file, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	d.file, d.day = file, d.today()
	if info, err := file.Stat(); err == nil && info.Size() > 0 {
		d.day = info.ModTime().UTC().Format(dayFormat)
	}
	return nil
}

func (d *dailyFile) today() string { return d.now().UTC().Format(dayFormat) }

// Write implements io.Writer.
func (d *dailyFile) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return 0, os.ErrClosed
	}
	if d.today() != d.day {
		if err := d.rotate(); err != nil {
			return 0, err
		}
	}
	return d.file.Write(p)
}

func (d *dailyFile) rotate() error {
	ours := d.isOurs()
	err := d.file.Close()
	switch {
	case !ours: // another process with the same file was faster
	case d.keep > 0:
		err = errors.Join(err, os.Rename(d.path, d.path+"."+d.day))
	default:
		err = errors.Join(err, os.Remove(d.path))
	}
	// Whatever went wrong, go on logging.
	if openErr := d.open(); openErr != nil {
		d.file = nil
		return errors.Join(err, openErr)
	}
	d.day = d.today()
	return errors.Join(err, d.removeOld())
}

// isOurs tells whether the path still leads to the open file.
func (d *dailyFile) isOurs() bool {
	open, err := d.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(d.path)
	return err == nil && os.SameFile(open, there)
}

// removeOld removes the oldest rotated files; their names sort by day.
func (d *dailyFile) removeOld() error {
	rotated, err := filepath.Glob(globEscape(d.path) + ".????-??-??")
	if err != nil {
		return err
	}
	slices.Sort(rotated)
	var errs []error
	for len(rotated) > d.keep {
		if err := os.Remove(rotated[0]); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		rotated = rotated[1:]
	}
	return errors.Join(errs...)
}

// globEscape makes a path stand for itself in a pattern.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// Close closes the file.
func (d *dailyFile) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}
