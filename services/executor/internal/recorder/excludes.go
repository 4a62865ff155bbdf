package recorder

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poco-ai/poco/services/executor/internal/git"
	"github.com/poco-ai/poco/services/internal/logging"
)

// excludes tells which untracked files of one repository are left out. It asks
// a git of its own, which knows the rules of .gitignore files best and sees
// nothing of the repository's configuration.
type excludes struct {
	top     string
	builtin []string
	logger  *slog.Logger
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func (r *Recorder) openExcludes(ctx context.Context, repo *repository) *excludes {
	dir := filepath.Join(r.opts.Root, repo.top)
	e := &excludes{top: repo.top, builtin: r.opts.Excludes, logger: r.opts.Logger}
	g := git.Git{Dir: dir, GitDir: r.opts.Dir, WorkTree: dir}
	var args []string
	if own := filepath.Join(repo.commonDir, "info", "exclude"); repo.gitDir != "" {
		if _, ok := readSmall(own); ok {
			args = []string{"-c", "core.excludesFile=" + own}
		}
	}
	e.cmd = g.Command(ctx, append(args, "check-ignore", "-z", "--stdin", "--no-index", "--verbose", "--non-matching")...)
	var errs [3]error
	e.in, errs[0] = e.cmd.StdinPipe()
	out, err := e.cmd.StdoutPipe()
	errs[1] = err
	if errors.Join(errs[:]...) == nil {
		errs[2] = e.cmd.Start()
	}
	if errors.Join(errs[:]...) != nil {
		e.cmd = nil
		return e
	}
	e.out = bufio.NewReader(out)
	return e
}

func (e *excludes) close() {
	if e.cmd == nil {
		return
	}
	e.in.Close()
	_ = e.cmd.Wait() // Its answers are read; how it ends says nothing more.
	e.cmd = nil
}

var errNoRules = errors.New("a .gitignore is no file")

// filter returns those of the names in a folder that are not left out. With
// noRules, git is not asked.
func (e *excludes) filter(folder string, entries []string, noRules bool) map[string]bool {
	kept := map[string]bool{}
	if len(entries) == 0 {
		return kept
	}
	below := strings.TrimPrefix(strings.TrimPrefix(folder, e.top), "/")
	var answers []bool
	err := errNoRules
	if !noRules {
		answers, err = e.ask(below, entries)
	}
	if err == nil {
		for i, name := range entries {
			kept[name] = !answers[i]
		}
		return kept
	}
	// Without git, at least what everybody leaves out is left out.
	if e.cmd != nil {
		e.logger.Warn("the rules of .gitignore files are not known", "folder", folder, logging.KeyError, err)
	}
	e.close()
	for _, name := range entries {
		kept[name] = !slices.Contains(e.builtin, name)
	}
	return kept
}

func (e *excludes) ask(below string, entries []string) ([]bool, error) {
	if e.cmd == nil {
		return nil, io.ErrClosedPipe
	}
	written := make(chan error, 1)
	go func() {
		w := bufio.NewWriter(e.in)
		for _, name := range entries {
			// "./" because a colon at the beginning has a meaning. Flush has the error.
			_, _ = w.WriteString("./" + path.Join(below, name) + "\x00")
		}
		written <- w.Flush()
	}()
	answers := make([]bool, len(entries))
	var err error
	for i := range entries {
		if answers[i], err = e.answer(); err != nil {
			e.in.Close() // Ends the writer.
			break
		}
	}
	return answers, errors.Join(<-written, err)
}

// answer reads one answer: source, line, pattern and path.
func (e *excludes) answer() (ignored bool, err error) {
	var fields [4]string
	for i := range fields {
		field, err := e.out.ReadString(0)
		if err != nil {
			return false, err
		}
		fields[i] = strings.TrimSuffix(field, "\x00")
	}
	pattern := fields[2]
	return pattern != "" && !strings.HasPrefix(pattern, "!"), nil
}
