package recorder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/git"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// Bounds of one FilesChanged event, which must stay far below the 4 MiB that
// gRPC clients take.
const (
	maxListed    = 1000
	maxFileDiff  = 64 << 10
	maxTotalDiff = 512 << 10
	// maxPatchRead bounds what is read of git's output.
	maxPatchRead = 16 << 20
)

// change is a changed file, and how many patches git writes for it.
type change struct {
	*backendv1.FileChange
	patches int
}

// parseChanges reads "git diff-tree --raw --numstat -z": first the raw entries,
// then the counts, in the same order.
func parseChanges(list string) ([]change, error) {
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
	var changes []change
	for len(fields) > 0 && strings.HasPrefix(fields[0], ":") {
		entry, _ := next()
		status := entry[strings.LastIndexByte(entry, ' ')+1:]
		name, err := next()
		if err != nil {
			return nil, err
		}
		c := change{FileChange: &backendv1.FileChange{Path: name}, patches: 1}
		switch status[:min(1, len(status))] {
		case "A":
			c.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_ADDED
		case "D":
			c.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_DELETED
		case "R":
			c.Status, c.OldPath = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_RENAMED, name
			if c.Path, err = next(); err != nil {
				return nil, err
			}
		case "T": // A changed type: a deletion and an addition.
			c.patches = 2
			c.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED
		default:
			c.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED
		}
		changes = append(changes, c)
	}
	for _, c := range changes {
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
			c.Binary = true
			continue
		}
		var errs [2]error
		c.Additions, errs[0] = strconv.ParseInt(added, 10, 64)
		c.Deletions, errs[1] = strconv.ParseInt(deleted, 10, 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("git's counts cannot be read: %w", err)
		}
	}
	return changes, nil
}

// addDiffs fills in the unified diffs within the bounds.
func addDiffs(ctx context.Context, g git.Git, from, to id, changes []change) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := g.Command(ctx, "diff-tree", "-r", "-M", "-p", "--no-ext-diff", "--no-textconv", "--no-color", from.String(), to.String())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	complete, err := readDiffs(io.LimitReader(stdout, maxPatchRead), changes)
	if !complete {
		cancel() // Enough was read.
	}
	if waitErr := cmd.Wait(); waitErr != nil && complete {
		return &git.Error{Command: "diff-tree", Stderr: git.Tail(stderr.String()), Err: waitErr}
	}
	return err
}

// patchHeader starts a patch. No line of a patch's content does: those start
// with a space, "+", "-", "\" or "@".
const patchHeader = "diff --git "

// patches deals git's patches out to the files, which are in the same order.
type patches struct {
	changes []change
	// current is the file whose patch is read, left how many more it has.
	current, left int
	diff          strings.Builder
	total         int
}

// header begins the next patch, and says whether it is one of a listed file.
func (p *patches) header() bool {
	if p.left > 0 {
		p.left--
		return true
	}
	p.flush()
	if p.current++; p.current >= len(p.changes) {
		return false
	}
	p.left = p.changes[p.current].patches - 1
	return true
}

func (p *patches) line(line []byte) {
	if p.current < 0 {
		return
	}
	c := p.changes[p.current]
	switch {
	case c.GetBinary() || c.GetDiffTruncated():
	case p.diff.Len()+len(line) > maxFileDiff || p.total+p.diff.Len()+len(line) > maxTotalDiff:
		c.DiffTruncated = true
	default:
		p.diff.Write(line)
	}
}

func (p *patches) flush() {
	if p.current < 0 || p.current >= len(p.changes) {
		return
	}
	if c := p.changes[p.current]; !c.GetBinary() {
		c.Diff = sanitize.Text(p.diff.String())
		p.total += len(c.GetDiff())
	}
	p.diff.Reset()
}

// readDiffs reads git's patches. complete is false when there were more than
// are wanted.
func readDiffs(r io.Reader, changes []change) (complete bool, err error) {
	p := patches{changes: changes, current: -1}
	reader := bufio.NewReaderSize(r, 64<<10)
	read, begun := 0, false // begun: in the middle of a long line
	for {
		line, err := reader.ReadSlice('\n')
		read += len(line)
		if !begun && bytes.HasPrefix(line, []byte(patchHeader)) && !p.header() {
			return false, nil // More files than are listed.
		}
		p.line(line)
		if begun = errors.Is(err, bufio.ErrBufferFull); err == nil || begun {
			continue
		}
		p.flush()
		for _, c := range changes[p.current+1:] {
			c.DiffTruncated = !c.GetBinary()
		}
		if !errors.Is(err, io.EOF) {
			return false, err
		}
		if read >= maxPatchRead && p.current >= 0 {
			changes[p.current].DiffTruncated = true
			return false, nil
		}
		return true, nil
	}
}
