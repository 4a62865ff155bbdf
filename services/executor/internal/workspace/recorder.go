package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// recorder is a git folder of our own beside the workspace's repository. What
// the agent configures in its repository (filter programs, another work tree,
// a broken file) has no effect on how its work is recorded.
type recorder struct {
	dir string
	// objects is the repository's folder of objects.
	objects string
}

// recordAttributes come before the workspace's .gitattributes: no program is
// run on a file's content, and no encoding can be refused.
const recordAttributes = "* !filter !working-tree-encoding\n"

// maxExcludes bounds what is read of a repository's own excludes.
const maxExcludes = 1 << 20

// openRecorder makes the folder in dir. What is there stays: the index makes
// recording fast.
func openRecorder(ctx context.Context, g git, dir string, excludes []string) (*recorder, error) {
	objects, err := g.output(ctx, "rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return nil, err
	}
	format, err := g.output(ctx, "rev-parse", "--show-object-format")
	if err != nil {
		return nil, err
	}
	config := "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
	if format != "sha1" {
		config = "[core]\n\trepositoryformatversion = 1\n\tbare = false\n[extensions]\n\tobjectFormat = " + format + "\n"
	}
	for _, name := range []string{"refs", "objects", "info"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	for name, content := range map[string]string{
		"HEAD": "ref: refs/heads/recorder\n", "config": config, "info/attributes": recordAttributes,
		"info/exclude": strings.Join(excludes, "\n") + "\n",
	} {
		if err := replaceFile(filepath.Join(dir, name), []byte(content)); err != nil {
			return nil, err
		}
	}
	// What a recording left that was killed in the middle.
	if err := os.RemoveAll(filepath.Join(dir, "index.lock")); err != nil {
		return nil, err
	}
	return &recorder{dir: dir, objects: objects}, nil
}

// publishIndex makes the repository's index what was recorded.
func (r *recorder) publishIndex(gitDir string) error {
	index, err := os.ReadFile(filepath.Join(r.dir, "index"))
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(gitDir, "index"), index)
}

// replaceFile puts a file in place of whatever is there, without opening it.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".poco-new-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// readExcludes returns a repository's own excludes, and whether there is a file
// that can be added to.
func readExcludes(path string) (lines []string, regular bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxExcludes {
		return nil, false, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", path, err)
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n"), true, nil
}

// writeExcludes adds the patterns that a repository's own excludes lack, so
// that the agent's git leaves out the same, and returns them all.
func writeExcludes(path string, patterns []string) ([]string, error) {
	lines, regular, err := readExcludes(path)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, line := range lines {
		have[strings.TrimSpace(line)] = true
	}
	added := false
	for _, pattern := range patterns {
		pattern = strings.TrimSpace(pattern)
		if pattern == "" || have[pattern] || strings.ContainsAny(pattern, "\n\x00") {
			continue
		}
		have[pattern], added = true, true
		lines = append(lines, pattern)
	}
	if !added || !regular {
		return lines, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return lines, replaceFile(path, []byte(strings.Join(lines, "\n")+"\n"))
}
