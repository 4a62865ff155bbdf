package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/poco-ai/poco/services/internal/text"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// Bounds of one FilesChanged event, which must stay far below the 4 MiB that
// gRPC clients take.
const (
	maxFiles     = 1000
	maxFileDiff  = 64 << 10
	maxTotalDiff = 512 << 10
	// maxPatchRead bounds what is read of git's output.
	maxPatchRead = 16 << 20
)

// Changes compares the workspace with the start of the run, untracked files
// included.
func (w *Workspace) Changes(ctx context.Context) (*backendv1.FilesChanged, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gitTimeout, fmt.Errorf("not done within %s", gitTimeout))
	defer cancel()
	tree, err := w.git.addAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding the changed files: %w", err)
	}
	changed := &backendv1.FilesChanged{RemoteUrl: w.remote}
	own := w.git
	own.recorder = nil
	if changed.Branch, err = own.output(ctx, "symbolic-ref", "--short", "--quiet", "HEAD"); err != nil && exitCode(err) != 1 {
		return nil, fmt.Errorf("finding the branch: %w", err)
	}
	list, err := w.git.output(ctx, "diff-tree", "-r", "-M", "--raw", "--numstat", "-z", "--no-ext-diff", "--no-textconv", w.base, tree)
	if err != nil {
		return nil, fmt.Errorf("listing the changed files: %w", err)
	}
	files, err := parseChanges(list)
	if err != nil {
		return nil, fmt.Errorf("listing the changed files: %w", err)
	}
	for _, f := range files {
		changed.TotalAdditions += f.GetAdditions()
		changed.TotalDeletions += f.GetDeletions()
	}
	changed.TotalFiles = int64(len(files))
	if len(files) > maxFiles {
		files, changed.Truncated = files[:maxFiles], true
	}
	changed.Files = files
	if len(files) > 0 {
		if err := w.addDiffs(ctx, tree, files); err != nil {
			return nil, fmt.Errorf("comparing the changed files: %w", err)
		}
	}
	for _, f := range files {
		f.Path, f.OldPath = text.Storable(f.GetPath()), text.Storable(f.GetOldPath())
	}
	return changed, nil
}

// parseChanges reads "git diff-tree --raw --numstat -z": first the raw entries,
// then the counts, in the same order.
func parseChanges(list string) ([]*backendv1.FileChange, error) {
	fields := strings.Split(strings.TrimSuffix(list, "\x00"), "\x00")
	if list == "" {
		return nil, nil
	}
	next := func() (string, error) {
		if len(fields) == 0 {
			return "", errors.New("git's list ends too early")
		}
		f := fields[0]
		fields = fields[1:]
		return f, nil
	}
	var files []*backendv1.FileChange
	for len(fields) > 0 && strings.HasPrefix(fields[0], ":") {
		entry, _ := next()
		status := entry[strings.LastIndexByte(entry, ' ')+1:]
		name, err := next()
		if err != nil {
			return nil, err
		}
		f := &backendv1.FileChange{Path: name}
		switch status[:min(1, len(status))] {
		case "A":
			f.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_ADDED
		case "D":
			f.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_DELETED
		case "R":
			f.Status, f.OldPath = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_RENAMED, name
			if f.Path, err = next(); err != nil {
				return nil, err
			}
		default: // M, and T for a changed type.
			f.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED
		}
		files = append(files, f)
	}
	for _, f := range files {
		counts, err := next()
		if err != nil {
			return nil, err
		}
		added, rest, _ := strings.Cut(counts, "\t")
		deleted, name, _ := strings.Cut(rest, "\t")
		if name == "" { // A rename: both names follow.
			if len(fields) < 2 {
				return nil, errors.New("git's list ends too early")
			}
			fields = fields[2:]
		}
		if added == "-" {
			f.Binary = true
			continue
		}
		var errs [2]error
		f.Additions, errs[0] = strconv.ParseInt(added, 10, 64)
		f.Deletions, errs[1] = strconv.ParseInt(deleted, 10, 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("git's counts cannot be read: %w", err)
		}
	}
	return files, nil
}

// addDiffs fills in the unified diffs within the bounds.
func (w *Workspace) addDiffs(ctx context.Context, tree string, files []*backendv1.FileChange) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := w.git.command(ctx, "diff-tree", "-r", "-M", "-p", "--no-ext-diff", "--no-textconv", "--no-color", w.base, tree)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	complete, err := readDiffs(io.LimitReader(stdout, maxPatchRead), files)
	if !complete {
		cancel() // Enough was read.
	}
	if waitErr := cmd.Wait(); waitErr != nil && complete {
		return &gitError{args: []string{"diff-tree"}, stderr: tail(stderr.String()), err: waitErr}
	}
	return err
}

// patchHeader starts a file's patch. No line of a patch's content can: those
// start with a space, "+", "-", "\" or "@".
const patchHeader = "diff --git "

// readDiffs deals git's patches out to the files, which are in the same order.
// complete is false when the patch was longer than what is read.
func readDiffs(r io.Reader, files []*backendv1.FileChange) (complete bool, err error) {
	limited := r
	reader := bufio.NewReaderSize(limited, 64<<10)
	var diff strings.Builder
	current, total, read := -1, 0, 0
	flush := func() {
		if current < 0 || current >= len(files) {
			return
		}
		f := files[current]
		f.Diff = text.Storable(diff.String())
		if f.GetBinary() {
			f.Diff = ""
		}
		total += len(f.GetDiff())
		diff.Reset()
	}
	for {
		line, err := reader.ReadSlice('\n')
		read += len(line)
		long := errors.Is(err, bufio.ErrBufferFull)
		if bytes.HasPrefix(line, []byte(patchHeader)) && !sameFile(files, current, string(line)) {
			flush()
			if current++; current >= len(files) {
				return false, nil // More files than are listed.
			}
		}
		if current >= 0 {
			f := files[current]
			switch {
			case f.GetBinary():
			case diff.Len()+len(line) > maxFileDiff || total+diff.Len()+len(line) > maxTotalDiff:
				f.DiffTruncated = true
			case !f.GetDiffTruncated():
				diff.Write(line)
			}
		}
		if err != nil && !long {
			flush()
			for _, f := range files[current+1:] {
				f.DiffTruncated = !f.GetBinary()
			}
			if !errors.Is(err, io.EOF) {
				return false, err
			}
			if read >= maxPatchRead && current >= 0 {
				files[current].DiffTruncated = true
				return false, nil
			}
			return true, nil
		}
	}
}

// sameFile says whether a patch header belongs to the file before: a file
// whose type changed has two patches, a deletion and an addition.
func sameFile(files []*backendv1.FileChange, current int, header string) bool {
	if current < 0 || current >= len(files) || files[current].GetStatus() != backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED {
		return false
	}
	name := files[current].GetPath()
	return strings.TrimSuffix(header, "\n") == patchHeader+"a/"+name+" b/"+name
}
