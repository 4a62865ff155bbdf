package app

import (
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// gitServer serves the repositories in a folder over HTTP.
func gitServer(t *testing.T, dir string) string {
	t.Helper()
	core, err := exec.Command("git", "--exec-path").Output()
	require.NoError(t, err)
	server := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	})
	t.Cleanup(server.Close)
	return server.URL
}

// The agent finds a clone as it is on the branch, with what is tracked though
// ignored, and a submodule.
func TestACloneIsAsItsBranch(t *testing.T) {
	there := t.TempDir()
	cmd := exec.Command("sh", "-euc", `
git init -q lib; cd lib; echo lib >lib.txt; git add .; git commit -qm lib; cd ..
git init -q -b main project; cd project; mkdir dist; echo x >dist/x; echo dist >.gitignore
git -c protocol.file.allow=always submodule --quiet add ../lib sub; git add -f .; git commit -qm first`)
	cmd.Dir = there
	cmd.Env = append(cmd.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	c := newConversation(t, workspaceDir(t))
	c.request.Config = &backendv1.TaskConfig{RepoUrl: proto.String(gitServer(t, there) + "/project"), GitBranch: proto.String("main")}
	events := c.say("[[bash:echo \"status:$(git status --porcelain):diff:$(git diff origin/main):commits:$(git rev-list --all --count):tags:$(git tag):\"]]")
	require.Contains(t, spoken(events), "status::diff::commits:1:tags::")
	require.Nil(t, changesOf(events))
	events = c.say("[[bash:echo more >>dist/x; git commit -qam more; git worktree add -q ../wt; echo n >../wt/n]]")
	var names []string
	for _, f := range changesOf(events).GetFiles() {
		names = append(names, f.GetPath())
	}
	require.ElementsMatch(t, []string{"../wt/.gitignore", "../wt/.gitmodules", "../wt/dist/x", "../wt/n", "dist/x"}, names)
}
