package app

import (
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// conversation is a session whose prompts follow on each other in one executor.
type conversation struct {
	t       *testing.T
	client  executorv1.ExecutorServiceClient
	request *executorv1.StartRunRequest
}

func newConversation(t *testing.T, dir string, env ...string) *conversation {
	t.Helper()
	req, _ := request(t, newManager(t), "")
	client, _ := start(t, dir, env...)
	return &conversation{t: t, client: client, request: req}
}

// say runs a prompt to its end and returns its events.
func (c *conversation) say(prompt string) []*executorv1.RunEventPayload {
	c.t.Helper()
	m := newManager(c.t)
	req := proto.CloneOf(c.request)
	req.RunId, req.ChannelUrl, req.Prompt = uuid.NewString(), m.url, prompt
	_, err := c.client.StartRun(c.t.Context(), req)
	require.NoError(c.t, err)
	end := m.finished()
	require.Equal(c.t, completed, end.GetStatus(), end.GetMessage())
	waitIdle(c.t, c.client)
	for _, e := range m.log() {
		if started := e.GetAgentStarted(); started != nil {
			c.request.AgentSessionId = started.GetAgentSessionId()
		}
	}
	return m.log()
}

// spoken is all that the agent said.
func spoken(events []*executorv1.RunEventPayload) (text string) {
	for _, e := range events {
		for _, b := range e.GetMessageAdded().GetBlocks() {
			text += b.GetText().GetText() + "\n"
		}
	}
	return text
}

func notices(events []*executorv1.RunEventPayload) map[string]string {
	codes := map[string]string{}
	for _, e := range events {
		if n := e.GetNotice(); n != nil {
			codes[n.GetCode()] += n.GetText() + "\n"
		}
	}
	return codes
}

// Whatever the agent removes of its workspace and home, the session remembers,
// and its runs show what they changed.
func TestTheAgentRemovesEverything(t *testing.T) {
	c := newConversation(t, workspaceDir(t))
	c.say("Remember the pears.")
	c.say("[[bash:git init -q; git clean -fdxq; rm -rf .git ./* ./.[!.]* ~; echo left > left.txt]]")
	events := c.say("[[memory]]")
	require.Contains(t, spoken(events), "Remember the pears.")
	require.Empty(t, notices(events))
	events = c.say("[[bash:echo more > more.txt]]")
	require.Equal(t, "more.txt", changesOf(events).GetFiles()[0].GetPath())

	// Only what is looked for is found.
	c.say("[[bash:rm -rf \"$CLAUDE_CONFIG_DIR\"; echo gone]]")
	events = c.say("[[memory]]")
	require.NotContains(t, spoken(events), "Remember the pears.")
	require.Contains(t, notices(events), "conversation_lost")
	require.False(t, started(events).GetResumed())
}

// Whatever the agent puts in the place of its own folders, the run shows what it
// did, and the next one has them.
func TestTheAgentReplacesItsFolders(t *testing.T) {
	for name, command := range map[string]string{
		"removed": "rm -rf workspace state", "files": "rm -rf workspace state; echo x >workspace; echo x >state",
		"links": "mv workspace elsewhere; rm -rf state; ln -s /etc workspace; ln -s elsewhere state", "moved": "mv workspace elsewhere; mv state kept; ln -s kept state",
	} {
		t.Run(name, func(t *testing.T) {
			dir := workspaceDir(t)
			c := newConversation(t, dir)
			c.say("[[bash:echo a >a.txt]]")
			events := c.say("[[bash:cd ..; " + command + "]]")
			files := changesOf(events).GetFiles()
			require.Len(t, files, 1, notices(events))
			require.Equal(t, backendv1.FileChangeStatus_FILE_CHANGE_STATUS_DELETED, files[0].GetStatus())
			require.Contains(t, notices(events), "workspace")
			events = c.say("[[bash:echo b >b.txt]]")
			require.Equal(t, "b.txt", changesOf(events).GetFiles()[0].GetPath())
			info, err := os.Lstat(dir)
			require.NoError(t, err)
			require.True(t, info.IsDir())
		})
	}
}

// Whatever folders the agent locks, the run shows what it did, the next one finds
// them open, and what a link leads to stays as it is.
func TestTheAgentLocksItsFolders(t *testing.T) {
	if !testkit.Unprivileged(t) {
		return
	}
	for name, command := range map[string]string{
		"the workspace": "chmod 000 .", "folders in it": "chmod 000 a/b; chmod 000 a inputs",
		"to be read": "git init -q; find . -depth -type d -exec chmod a-w {} +", "everything": "cd ..; find state workspace -depth -type d -exec chmod 000 {} +",
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside := workspaceDir(t), t.TempDir()
			require.NoError(t, os.Chmod(outside, 0o500))
			c := newConversation(t, dir)
			c.say("Remember the pears.")
			c.say("[[bash:mkdir -p a/b inputs; echo one >a/b/c.txt; ln -s " + outside + " link]]")
			events := c.say("[[bash:echo two >>a/b/c.txt; " + command + "]]")
			require.Empty(t, notices(events))
			require.Len(t, changesOf(events).GetFiles(), 1)
			require.Contains(t, changesOf(events).GetFiles()[0].GetDiff(), "+two\n")
			events = c.say("[[bash:echo three >>a/b/c.txt; rm -rf .git; touch inputs/x d.txt]]")
			require.Empty(t, notices(events))
			require.Len(t, changesOf(events).GetFiles(), 2)
			require.Contains(t, changesOf(events).GetFiles()[0].GetDiff(), "+three\n")
			require.Contains(t, spoken(c.say("[[memory]]")), "Remember the pears.")
			info, err := os.Stat(outside)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o500), info.Mode().Perm())
		})
	}
}

// Named pipes where the agent's start reads files do not keep the next run from
// starting.
func TestPipesDoNotStopTheNextRun(t *testing.T) {
	pipes := []string{".git/config", ".git/info/exclude", ".git/refs/heads/x", ".gitignore", "sub/.gitignore", "CLAUDE.md", ".claude/settings.json", ".mcp.json"}
	c := newConversation(t, workspaceDir(t))
	c.say("[[bash:git init -q; mkdir .claude sub; rm -f ~/.gitconfig " + strings.Join(pipes, " ") + "; mkfifo " + strings.Join(pipes, " ") + " ~/.gitconfig work]]")
	events := c.say("[[bash:mv .git aside; mkfifo .git; test -p work && echo works]]")
	require.Contains(t, spoken(events), "works", "a pipe that nobody waits for stays")
	for _, name := range append(pipes, ".gitconfig") {
		require.Contains(t, notices(events)["workspace"], name+" was a named pipe")
	}
	require.Contains(t, spoken(c.say("[[bash:test -e .git || echo gone]]")), "gone")
}

// What a run writes last shows, however much it is and however soon it ends.
func TestWhatIsWrittenLastShows(t *testing.T) {
	c := newConversation(t, workspaceDir(t))
	events := c.say("[[bash:head -c 60000000 /dev/urandom >data.bin; echo r >report.txt]]")
	require.Empty(t, notices(events))
	files := changesOf(events).GetFiles()
	require.Len(t, files, 2)
	require.Equal(t, "data.bin", files[0].GetPath())
	require.True(t, files[0].GetBinary())
	require.EqualValues(t, 60_000_000, files[0].GetSize())
	require.Contains(t, files[1].GetDiff(), "+r\n")
	events = c.say("[[bash:echo more >>report.txt]]")
	require.Contains(t, changesOf(events).GetFiles()[0].GetDiff(), "+more\n")
}

// The agent's commits have an author, and the repository's own comes first.
func TestTheAgentCommits(t *testing.T) {
	c := newConversation(t, workspaceDir(t))
	events := c.say("[[bash:git init -q; echo a >a; git add a; git commit -qm a && git log --format=%an:%ae]]")
	require.Contains(t, spoken(events), "Poco:poco@localhost")
	require.Len(t, changesOf(events).GetFiles(), 1)
	events = c.say("[[bash:git config user.name Own; git config user.email own@example.org; git commit -qm b --allow-empty && git log -1 --format=%an:%ae]]")
	require.Contains(t, spoken(events), "Own:own@example.org")
}

// Rules of the deployment hold for files that no repository tracks.
func TestRulesOfTheDeployment(t *testing.T) {
	c := newConversation(t, workspaceDir(t), "WORKSPACE_GIT_IGNORE=*.log,scratch/")
	events := c.say("[[bash:mkdir scratch; echo x | tee a.log scratch/x kept.txt]]")
	files := changesOf(events).GetFiles()
	require.Len(t, files, 1)
	require.Equal(t, "kept.txt", files[0].GetPath())
}

func started(events []*executorv1.RunEventPayload) *backendv1.AgentStarted {
	for _, e := range events {
		if s := e.GetAgentStarted(); s != nil {
			return s
		}
	}
	return nil
}

// changesOf are the changes that a run told last.
func changesOf(events []*executorv1.RunEventPayload) *backendv1.FilesChanged {
	var last *backendv1.FilesChanged
	for _, e := range events {
		if changed := e.GetFilesChanged(); changed != nil {
			last = changed
		}
	}
	return last
}
