package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// introduce gives the agent a name for its commits, in the configuration of its
// home, where a name of the machine's does not give it one. A repository's own
// name comes before that.
func (w *Workspace) introduce(ctx context.Context) {
	for _, setting := range [][2]string{{"user.name", "Poco"}, {"user.email", "poco@localhost"}} {
		if w.configuration(ctx, "--get", setting[0]) == nil {
			continue
		}
		if err := w.configuration(ctx, "--global", setting[0], setting[1]); err != nil {
			w.Notices = append(w.Notices, fmt.Sprintf("Commits of the agent need %s to be set: %v.", setting[0], err))
			return
		}
	}
}

var errNoFile = errors.New("its .gitconfig is no file")

// configuration runs "git config" as the agent does, outside of a repository.
func (w *Workspace) configuration(ctx context.Context, args ...string) error {
	info, err := os.Lstat(filepath.Join(w.HomeDir, ".gitconfig"))
	if err == nil && !info.Mode().IsRegular() {
		return errNoFile
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"config"}, args...)...)
	cmd.Dir = w.HomeDir
	cmd.Env = []string{
		"HOME=" + w.HomeDir, "GIT_CEILING_DIRECTORIES=" + filepath.Dir(w.HomeDir),
		"PATH=" + os.Getenv("PATH"), //nolint:forbidigo // Passed on to find git's parts, not read as a setting.
	}
	return cmd.Run()
}
