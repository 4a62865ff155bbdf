// Package recorder finds out what a run changed in a workspace.
//
// It looks at the files themselves and keeps what it knows in a Git folder of
// its own, out of the agent's reach: the person's repositories are read, to know
// what they track, and never written. A run begins with a list of all files and
// their contents; what differs from it later is what the run changed, whether it
// was committed, in which repository, and on which branch.
package recorder

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"
)

// lookTimeout bounds one look at a workspace.
const lookTimeout = 2 * time.Minute

// Options say what is recorded.
type Options struct {
	// Root is the workspace's folder, Work the folder below it that paths are
	// told from, "" for the workspace itself.
	Root, Work string
	// Dir is the recorder's own folder.
	Dir string
	// Excludes are what is not recorded of untracked files, as in a .gitignore
	// file.
	Excludes []string
	// Skip is a folder at the workspace's top that is not recorded.
	Skip   string
	Logger *slog.Logger
}

// Recorder records one run in a workspace. Its methods may be called from
// several goroutines.
type Recorder struct {
	opts    Options
	objects objects

	mu           sync.Mutex
	repositories map[string]*repository
	// start is the beginning of the run, last what was known last.
	start *listing
	last  map[string]entry
}

// New returns a recorder that has not looked at anything.
func New(opts Options) *Recorder {
	if real, err := filepath.EvalSymlinks(opts.Root); err == nil {
		opts.Root = real
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return &Recorder{opts: opts, objects: objects{dir: filepath.Join(opts.Dir, "objects")}}
}

// startName is the file with the start of the last run.
const startName = "start"

// Begin records the start of a run, unless it has before: a run that goes on
// counts from its first start. problems are what could not be recorded.
func (r *Recorder) Begin(ctx context.Context, runID string) (problems []Problem, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("not done within %s", lookTimeout))
	defer cancel()
	// When this fails, so does what needs it, and says so.
	folderErr := r.makeFolder()
	known := r.readStart()
	if known != nil && known.RunID == runID {
		r.start, r.last = known, known.Files
		return nil, nil
	}
	var before map[string]entry
	if known != nil {
		before = known.Files
	}
	start, err := r.scan(ctx, before, nil)
	if err != nil {
		return nil, fmt.Errorf("looking at the workspace: %w", err)
	}
	start.RunID = runID
	r.start, r.last = start, start.Files
	problems = problemsOf(start.Problems, nil)
	if err := errors.Join(folderErr, r.writeStart(start)); err != nil {
		problems = append(problems, Problem{Path: filepath.Join(r.opts.Dir, startName), Reason: reason(err)})
	}
	if err := r.objects.prune(start.kept()); err != nil {
		r.opts.Logger.WarnContext(ctx, "what earlier runs recorded stays on the disk", logging.KeyError, err)
	}
	return problems, nil
}

func (l *listing) kept() map[id]bool {
	kept := map[id]bool{}
	for _, e := range l.Files {
		if e.Kept {
			kept[e.ID] = true
		}
	}
	return kept
}

// makeFolder makes the Git folder, or what is missing of it.
func (r *Recorder) makeFolder() error {
	for _, name := range []string{"refs", "objects", "info"} {
		if err := os.MkdirAll(filepath.Join(r.opts.Dir, name), 0o755); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		"HEAD":         "ref: refs/heads/none\n",
		"config":       "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
		"info/exclude": strings.Join(r.opts.Excludes, "\n") + "\n",
	} {
		path := filepath.Join(r.opts.Dir, name)
		if there, ok := readSmall(path); ok && there == content {
			continue
		}
		if err := replaceFile(path, []byte(content)); err != nil {
			return err
		}
	}
	return nil
}

// readStart returns the start that was recorded last, or nil.
func (r *Recorder) readStart() *listing {
	file, err := os.Open(filepath.Join(r.opts.Dir, startName))
	if err != nil {
		return nil
	}
	defer file.Close()
	var l listing
	if gob.NewDecoder(file).Decode(&l) != nil || l.Files == nil {
		return nil
	}
	return &l
}

func (r *Recorder) writeStart(l *listing) error {
	file, err := os.CreateTemp(r.opts.Dir, "tmp-")
	if err != nil {
		return err
	}
	err = errors.Join(gob.NewEncoder(file).Encode(l), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(r.opts.Dir, startName))
	}
	if err != nil {
		// Not an older one in its place, which would be taken for the last.
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// Problem is something in the workspace that could not be recorded.
type Problem struct {
	// Path is below the workspace; "" is all of it.
	Path   string
	Reason string
}

func problemsOf(now, before map[string]string) []Problem {
	var problems []Problem
	for path, why := range now {
		if before[path] != why {
			problems = append(problems, Problem{Path: path, Reason: why})
		}
	}
	return problems
}

// reason is an error without what a person need not know.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
