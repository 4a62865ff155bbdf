package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/poco-ai/poco/services/internal/disk"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
)

const (
	stateSuffix = ".json"
	logSuffix   = ".log"
)

// state is what is kept about an executor, so that a later Runtime finds it.
// It holds no token.
type state struct {
	ID           string       `json:"id"`
	WorkerID     string       `json:"worker_id"`
	RunID        string       `json:"run_id"`
	Attempt      int32        `json:"attempt"`
	SessionID    string       `json:"session_id"`
	UserID       string       `json:"user_id"`
	Mode         runtime.Mode `json:"mode"`
	WorkspaceDir string       `json:"workspace_dir"`
	Addr         string       `json:"addr"`
	StartedAt    time.Time    `json:"started_at"`
	// PID is 0 until the process is started: the file is written before, so
	// that a crash in between leaves a trace to clean up by.
	PID int `json:"pid"`
	// Identity tells the process from a later one with the same number.
	Identity string `json:"identity"`
}

func (r *Runtime) statePath(id string) string {
	return filepath.Join(r.cfg.StateDir, id+stateSuffix)
}

func (r *Runtime) logPath(id string) string {
	return filepath.Join(r.cfg.StateDir, id+logSuffix)
}

func readState(path string) (state, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return state{}, err
	}
	var st state
	if err := json.Unmarshal(data, &st); err != nil {
		return state{}, fmt.Errorf("state file %s: %w", path, err)
	}
	return st, nil
}

// createState writes a new state file; ErrExists when there is one.
func createState(path string, st state) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	temporary, err := writeBeside(path, data)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	// A link fails when the name is taken, and shows the file whole at once.
	if err := os.Link(temporary, path); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s", runtime.ErrExists, st.ID)
	} else if err != nil {
		return err
	}
	return nil
}

// replaceState rewrites a state file at once.
func replaceState(path string, st state) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	temporary, err := writeBeside(path, data)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

func writeBeside(path string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".state-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// reserveName is a file of reserveBytes that gives way on a full disk, so that an
// executor can be noted whose agent may clean up.
const (
	reserveName  = "reserve"
	reserveBytes = 64 << 10
)

// keepReserve makes the reserve unless it is there. On a full disk there is none.
func (r *Runtime) keepReserve() {
	path := filepath.Join(r.cfg.StateDir, reserveName)
	if _, err := os.Lstat(path); err == nil {
		return
	}
	if err := os.WriteFile(path, make([]byte, reserveBytes), 0o600); err != nil {
		r.log.Warn("no disk space can be reserved for executors", logging.KeyError, errors.Join(err, os.Remove(path)))
	}
}

// note writes what is remembered of an executor, if need be with the reserve.
func (r *Runtime) note(write func() error) error {
	err := write()
	if disk.Full(err) && os.Remove(filepath.Join(r.cfg.StateDir, reserveName)) == nil {
		err = write()
	}
	return err
}

// forget removes an executor's files, the state last: while it is there, List
// finds what is left to do.
func (r *Runtime) forget(id string) error {
	for _, path := range []string{r.logPath(id), r.statePath(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// logTail returns the end of a log file, empty when there is none.
func logTail(path string) string {
	data, err := readTail(path, runtime.LogTailBytes)
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}

func readTail(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	offset := max(0, info.Size()-limit)
	return io.ReadAll(io.NewSectionReader(f, offset, info.Size()-offset))
}

// cutLog shortens a log that is longer than limit to its last kept bytes. The
// writer appends, so it goes on at the new end; a line written in the same
// moment may be lost.
func cutLog(path string, limit, kept int64) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= limit {
		return nil
	}
	if err != nil {
		return err
	}
	tail, err := readTail(path, kept)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.Write(append([]byte("(the beginning of this log was cut)\n"), tail...))
	}
	return errors.Join(err, f.Close())
}
