package recorder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/executor/internal/git"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// ErrNoStart is returned when nothing is known of the run's start.
var ErrNoStart = errors.New("what was there at the start of the run is not known")

// Changes compares the workspace with the start of the run, untracked files
// included. problems are what it could not look at.
func (r *Recorder) Changes(ctx context.Context) (changed *backendv1.FilesChanged, problems []Problem, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.start == nil {
		return nil, nil, ErrNoStart
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, fmt.Errorf("not done within %s", lookTimeout))
	defer cancel()
	// The agent may have removed it in the meantime.
	folderErr := r.makeFolder()
	now, err := r.scan(ctx, r.last, r.start)
	if err != nil {
		// What was read until then need not be read again.
		r.last = maps.Clone(r.last)
		maps.Copy(r.last, now.Files)
		return nil, nil, fmt.Errorf("looking at the workspace: %w", err)
	}
	r.last = now.Files
	d := r.compare(now)
	if err = folderErr; err == nil {
		err = d.find(ctx, r.alternates())
	}
	if err != nil && folderErr == nil && ctx.Err() == nil {
		err = d.find(ctx, nil) // The agent may have made anything of its objects.
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("comparing the workspace: %w", context.Cause(ctx))
		}
		r.opts.Logger.WarnContext(ctx, "changed files are listed without their differences", logging.KeyError, err)
		d.list()
		if len(d.changes) > 0 {
			problems = append(problems, Problem{Reason: "the differences could not be determined: " + reason(err)})
		}
	}
	changed = &backendv1.FilesChanged{TotalFiles: int64(len(d.changes))}
	for i, c := range d.changes {
		changed.TotalAdditions += c.GetAdditions()
		changed.TotalDeletions += c.GetDeletions()
		if i == maxListed {
			changed.Truncated = true
		}
		if i < maxListed {
			c.Path, c.OldPath = sanitize.Text(c.GetPath()), sanitize.Text(c.GetOldPath())
			changed.Files = append(changed.Files, c.FileChange)
		}
	}
	return changed, append(problems, problemsOf(now.Problems, r.start.Problems)...), nil
}

// difference is what differs between the start and now.
type difference struct {
	r       *Recorder
	from    map[string]entry
	to      map[string]entry
	changes []change
}

func (r *Recorder) compare(now *listing) *difference {
	d := &difference{r: r, from: map[string]entry{}, to: map[string]entry{}}
	for name, was := range r.start.Files {
		is, there := now.Files[name]
		if there && is.Mode == was.Mode && is.ID == was.ID {
			continue
		}
		d.from[name] = was
		if there {
			d.to[name] = is
		}
	}
	for name, is := range now.Files {
		if _, there := r.start.Files[name]; !there {
			d.to[name] = is
		}
	}
	return d
}

// shown is a path as people see it: from the working directory.
func (r *Recorder) shown(name string) string {
	if r.opts.Work == "" {
		return name
	}
	if below, ok := strings.CutPrefix(name, r.opts.Work+"/"); ok {
		return below
	}
	return "../" + name
}

// find has git compare two trees of the files that differ, for renames, counts
// and diffs.
func (d *difference) find(ctx context.Context, alternates []string) error {
	if len(d.from) == 0 && len(d.to) == 0 {
		return nil
	}
	g := git.Git{Dir: d.r.opts.Dir, GitDir: d.r.opts.Dir, Alternates: alternates}
	missing, err := d.missing(ctx, g)
	if err != nil {
		return err
	}
	var trees [2]id
	for i, files := range []map[string]entry{d.from, d.to} {
		if trees[i], err = d.tree(files, missing); err != nil {
			return err
		}
	}
	list, err := g.Output(ctx, "diff-tree", "-r", "-M", "--raw", "--numstat", "-z", "--no-ext-diff", "--no-textconv", trees[0].String(), trees[1].String())
	if err != nil {
		return err
	}
	if d.changes, err = parseChanges(list); err != nil {
		return err
	}
	d.complete(missing)
	return addDiffs(ctx, g, trees[0], trees[1], d.changes[:min(len(d.changes), maxListed)])
}

// alternates are where the person's repositories have their objects. What they
// track is not always kept a second time.
func (r *Recorder) alternates() []string {
	var folders []string
	for _, repo := range r.repositories {
		folder := filepath.Join(repo.commonDir, "objects")
		if repo.sharable && !slices.Contains(folders, folder) && !strings.ContainsAny(folder, "\"\n"+string(filepath.ListSeparator)) {
			folders = append(folders, folder)
		}
	}
	return folders
}

// missing returns the contents that nobody has.
func (d *difference) missing(ctx context.Context, g git.Git) (map[id]bool, error) {
	missing := map[id]bool{}
	var ask strings.Builder
	for _, files := range []map[string]entry{d.from, d.to} {
		for _, e := range files {
			if !missing[e.ID] && (!e.Kept || !d.r.has(&e)) {
				missing[e.ID] = true
				ask.WriteString(e.ID.String() + "\n")
			}
		}
	}
	if len(missing) == 0 {
		return missing, nil
	}
	cmd := g.Command(ctx, "cat-file", "--batch-check=%(objecttype)")
	cmd.Stdin = strings.NewReader(ask.String())
	answers, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git cat-file: %w", err)
	}
	asked := strings.Fields(ask.String())
	for i, answer := range strings.Split(strings.TrimSuffix(string(answers), "\n"), "\n") {
		if answer == "blob" && i < len(asked) {
			delete(missing, parseID(asked[i]))
		}
	}
	return missing, nil
}

// tree keeps a tree of files. A content that nobody has is stood in for, so that
// it still is the same as itself, and differs from everything else.
func (d *difference) tree(files map[string]entry, missing map[id]bool) (id, error) {
	leaves := make([]leaf, 0, len(files))
	for name, e := range files {
		content := e.ID
		if missing[content] {
			var err error
			if content, err = d.r.objects.put("blob", []byte("\x00"+content.String())); err != nil {
				return id{}, err
			}
		}
		leaves = append(leaves, leaf{path: d.r.shown(name), mode: e.Mode, name: content})
	}
	return d.r.objects.putTree(leaves)
}

// complete adds what git does not know: sizes, and what a file is whose content
// nobody has.
func (d *difference) complete(missing map[id]bool) {
	was, is := map[string]entry{}, map[string]entry{}
	for name, e := range d.from {
		was[d.r.shown(name)] = e
	}
	for name, e := range d.to {
		is[d.r.shown(name)] = e
	}
	for _, c := range d.changes {
		old, current := was[c.GetPath()], is[c.GetPath()]
		if c.GetOldPath() != "" {
			old = was[c.GetOldPath()]
		}
		c.Size = current.Size
		if missing[old.ID] || missing[current.ID] {
			c.Binary = old.Binary || current.Binary
			c.DiffTruncated = !c.Binary
		}
	}
}

// list says what differs without git, and so without renames, counts and diffs.
func (d *difference) list() {
	d.changes = nil
	names := maps.Clone(d.from)
	maps.Copy(names, d.to)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, was := d.from[name]
		current, is := d.to[name]
		c := &backendv1.FileChange{Path: d.r.shown(name), Size: current.Size, Binary: old.Binary || current.Binary}
		c.DiffTruncated = !c.Binary
		switch {
		case !was:
			c.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_ADDED
		case !is:
			c.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_DELETED
		default:
			c.Status = backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED
		}
		d.changes = append(d.changes, change{FileChange: c})
	}
}
