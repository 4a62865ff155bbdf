// Package journal keeps the events on disk that an executor has not delivered,
// so that they survive it: its manager reads them and delivers them.
//
// The file lies where the agent can write. Each record is signed, together with
// all before it, under a key that the agent does not have: what it adds or
// changes is not read, and what it removes is missed.
//
// Nothing is synced: a journal survives the end of any process, and of a
// container, but not that of the machine. An fsync would cost milliseconds for
// each event.
package journal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// DirName is the folder of journals in a session's state.
const DirName = "outbox"

const (
	suffix = ".events"
	// lengthBytes begin a record, its signature and the event follow.
	lengthBytes = 4
	// maxRecord is far above the largest event.
	maxRecord = 64 << 20
)

// ErrDamaged means that what follows cannot be read: it was cut off, or was not
// written by the executor.
var ErrDamaged = errors.New("the journal is damaged")

// Key signs the journal of one attempt of a run.
type Key []byte

// KeyOf derives the key from the attempt's channel token, which its executor and
// its manager have.
func KeyOf(channelToken string) Key { return sign([]byte(channelToken), []byte("journal")) }

func sign(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

// first is what the signature of the first record goes on from.
func (k Key) first() []byte { return sign(k, []byte("first")) }

// Name is the file of an attempt's journal.
func Name(runID string, attempt int32) string {
	return runID + "." + strconv.Itoa(int(attempt)) + suffix
}

// Parse reads such a name.
func Parse(name string) (runID string, attempt int32, ok bool) {
	name, ok = strings.CutSuffix(name, suffix)
	runID, number, cut := strings.Cut(name, ".")
	n, err := strconv.ParseInt(number, 10, 32)
	return runID, int32(n), ok && cut && err == nil
}

// Writer appends to a journal.
type Writer struct {
	file *os.File
	key  Key
	last []byte
}

// Create makes the empty journal of an attempt in a state folder.
func Create(stateDir, runID string, attempt int32, key Key) (*Writer, error) {
	dir := filepath.Join(stateDir, DirName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, Name(runID, attempt)), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &Writer{file: file, key: key, last: key.first()}, nil
}

// Append adds an event.
func (w *Writer) Append(e *executorv1.RunEvent) error {
	payload, err := proto.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	signature := sign(w.key, w.last, payload)
	record := make([]byte, 0, lengthBytes+len(signature)+len(payload))
	record = binary.BigEndian.AppendUint32(record, uint32(len(payload))) //nolint:gosec // far below 4 GiB
	record = append(append(record, signature...), payload...)
	if _, err := w.file.Write(record); err != nil {
		return err
	}
	w.last = signature
	return nil
}

// Reset empties the journal: all of it is delivered.
func (w *Writer) Reset() error {
	w.last = w.key.first()
	return w.file.Truncate(0)
}

// Close keeps the journal for anyone who delivers it.
func (w *Writer) Close() error { return w.file.Close() }

// Remove removes the journal.
func (w *Writer) Remove() error { return errors.Join(w.file.Close(), os.Remove(w.file.Name())) }

// Reader reads a journal.
type Reader struct {
	r    io.Reader
	key  Key
	last []byte
}

// NewReader reads what a Writer with the same key has written.
func NewReader(r io.Reader, key Key) *Reader { return &Reader{r: r, key: key, last: key.first()} }

// Next returns the next event; io.EOF at the end, ErrDamaged when nothing that
// follows can be believed.
func (r *Reader) Next() (*executorv1.RunEvent, error) {
	head := make([]byte, lengthBytes+sha256.Size)
	switch _, err := io.ReadFull(r.r, head); {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	size := binary.BigEndian.Uint32(head)
	if size > maxRecord {
		return nil, ErrDamaged
	}
	// Not allocated by what the length says alone: it may be anybody's.
	payload, err := io.ReadAll(io.LimitReader(r.r, int64(size)))
	if err != nil || len(payload) != int(size) {
		return nil, fmt.Errorf("%w: a record is cut off", ErrDamaged)
	}
	signature := sign(r.key, r.last, payload)
	if !hmac.Equal(signature, head[lengthBytes:]) {
		return nil, ErrDamaged
	}
	r.last = signature
	e := new(executorv1.RunEvent)
	if err := proto.Unmarshal(payload, e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return e, nil
}
