package task_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Who enqueues need not ask for what came of it.
func TestEnqueueAnswersTheWhole(t *testing.T) {
	b := backendtest.New(t)
	check := func(e *backendv1.EnqueueTaskResponse, err error) *backendv1.EnqueueTaskResponse {
		require.NoError(t, err)
		s := b.Session(t, e.GetSessionId())
		require.Equal(t, protojson.Format(s), protojson.Format(e.Session))
		r := b.Run(t, e.GetRunId())
		require.Equal(t, protojson.Format(r), protojson.Format(e.Run))
		return e
	}
	first := &backendv1.EnqueueTaskRequest{
		Prompt: "one", ClientRequestId: "r1", Config: &backendv1.TaskConfig{Model: new("m"), RepoUrl: new("https://user:password@example.com/a.git")},
	}
	e := check(b.Tasks.EnqueueTask(t.Context(), first))
	require.Equal(t, "one", e.Session.GetTitle())
	require.NotContains(t, e.Session.String(), "password")
	check(b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
		Prompt: "two", SessionId: e.GetSessionId(), ScheduledAt: timestamppb.New(time.Now().Add(time.Hour)),
	}))
	b.Cancel(t, e.GetRunId(), "enough")
	again := check(b.Tasks.EnqueueTask(t.Context(), first))
	require.Equal(t, e.GetRunId(), again.GetRunId())
	require.Equal(t, backendv1.RunStatus_RUN_STATUS_CANCELED, again.Run.GetStatus())
	require.Equal(t, int32(1), again.Session.GetQueuedRuns())
}

func TestEnqueueIsIdempotentUnderConcurrency(t *testing.T) {
	b := backendtest.New(t)
	const callers = 16
	results := make(chan *backendv1.EnqueueTaskResponse, callers)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			e, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "once", ClientRequestId: "r1"})
			if err != nil {
				t.Error(err)
			}
			results <- e
		})
	}
	wg.Wait()
	close(results)
	first := <-results
	for e := range results {
		require.Equal(t, first.GetRunId(), e.GetRunId())
		require.True(t, proto.Equal(first.Run, e.Run))
		require.True(t, proto.Equal(first.Session, e.Session))
	}
	list, err := b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetSessions(), 1, "no session is left over")
	require.Equal(t, int32(1), list.GetSessions()[0].GetQueuedRuns())

	_, err = b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "other", ClientRequestId: "r1"})
	require.Equal(t, backendv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_MISMATCH, rpcerror.Reason(err))
	other, err := b.Tasks.EnqueueTask(auth.WithUser(t.Context(), "someone-else"), &backendv1.EnqueueTaskRequest{Prompt: "other", ClientRequestId: "r1"})
	require.NoError(t, err, "the id is each user's own")
	require.NotEqual(t, first.GetRunId(), other.GetRunId())
}

func TestConfigIsMergedOverTheSessions(t *testing.T) {
	b := backendtest.New(t)
	enqueue := func(sessionID string, cfg *backendv1.TaskConfig) string {
		e, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", SessionId: sessionID, Config: cfg})
		require.NoError(t, err)
		return e.GetSessionId()
	}
	file := &backendv1.InputFile{Name: "a", Source: &backendv1.InputFile_Attachment{Attachment: "attachments/default/1/a"}}
	id := enqueue("", &backendv1.TaskConfig{
		RepoUrl: new("https://github.com/a/b"), Model: new("m1"), Timeout: durationpb.New(90*time.Second + 5),
		McpConfig: map[string]bool{"a": false}, InputFiles: []*backendv1.InputFile{file},
	})
	enqueue(id, &backendv1.TaskConfig{Model: new(""), Timeout: durationpb.New(time.Minute), McpConfig: map[string]bool{"b": false}})
	first := b.Claim(t, "w1")
	require.Len(t, first.GetConfig().GetInputFiles(), 1)
	_, err := b.Queue.Start(t.Context(), first.GetRun().GetId(), first.GetFencingToken())
	require.NoError(t, err)
	b.Append(t, first, backendtest.Finished(1, backendv1.RunStatus_RUN_STATUS_COMPLETED))

	want := &backendv1.TaskConfig{
		RepoUrl: new("https://github.com/a/b"), Model: new(""), Timeout: durationpb.New(time.Minute), McpConfig: map[string]bool{"a": false, "b": false},
	}
	second := b.Claim(t, "w1")
	require.True(t, proto.Equal(want, second.GetConfig()), "input files belong to one run only: %v", second.GetConfig())
	s := b.Session(t, id)
	require.True(t, proto.Equal(want, s.GetConfig()))
}

func TestTitleAndSchedule(t *testing.T) {
	b := backendtest.New(t)
	later := timestamppb.New(time.Now().Add(time.Hour))
	for name, c := range map[string]struct {
		req         *backendv1.EnqueueTaskRequest
		title, mode string
	}{
		"first line":        {&backendv1.EnqueueTaskRequest{Prompt: "  Write a haiku \nabout Go"}, "Write a haiku", "immediate"},
		"cut between runes": {&backendv1.EnqueueTaskRequest{Prompt: strings.Repeat("ä", 100)}, strings.Repeat("ä", 80), "immediate"},
		"a time schedules":  {&backendv1.EnqueueTaskRequest{Prompt: "x", ScheduledAt: later, ScheduleMode: "immediate"}, "x", "scheduled"},
		"scheduled":         {&backendv1.EnqueueTaskRequest{Prompt: "x", ScheduledAt: later, ScheduleMode: "scheduled"}, "x", "scheduled"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := b.Tasks.EnqueueTask(t.Context(), c.req)
			require.NoError(t, err)
			s := b.Session(t, e.GetSessionId())
			require.Equal(t, c.title, s.GetTitle())
			r := b.Run(t, e.GetRunId())
			require.Equal(t, c.mode, r.GetScheduleMode())
		})
	}
}

// A mode that no worker claims would leave its run waiting for ever.
func TestModesThatNobodyServesAreRefused(t *testing.T) {
	b := backendtest.New(t)
	for _, mode := range []string{"nightly", "weekend", "immediate.2"} {
		for _, at := range []*timestamppb.Timestamp{nil, timestamppb.New(time.Now().Add(time.Hour))} {
			_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", ScheduleMode: mode, ScheduledAt: at})
			require.ErrorContains(t, err, "schedule_mode: \""+mode+"\" is served by nobody")
			require.ErrorContains(t, err, "immediate, scheduled")
			require.Equal(t, connect.CodeInvalidArgument, rpcerror.CodeOf(err))
		}
	}
	sessions, err := b.Sessions.ListSessions(t.Context(), &backendv1.ListSessionsRequest{})
	require.NoError(t, err)
	require.Empty(t, sessions.GetSessions(), "nothing is left of what was refused")
}

// What a session keeps is sent along with each of its runs, and listed.
func TestConfigsDoNotGrowForEver(t *testing.T) {
	b := backendtest.New(t)
	servers := func(prefix string) *backendv1.TaskConfig {
		cfg := &backendv1.TaskConfig{McpConfig: map[string]bool{}}
		for i := range 150 {
			cfg.McpConfig[fmt.Sprint(prefix, i)] = false
		}
		return cfg
	}
	e, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", Config: servers("a")})
	require.NoError(t, err)
	_, err = b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", SessionId: e.GetSessionId(), Config: servers("a")})
	require.NoError(t, err)
	_, err = b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", SessionId: e.GetSessionId(), Config: servers("b")})
	require.ErrorContains(t, err, "config.mcp_config: map must be at most 200 entries")
	_, err = b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
		Prompt: "x", Config: &backendv1.TaskConfig{McpConfig: map[string]bool{strings.Repeat("k", 201): true}},
	})
	require.ErrorContains(t, err, "mcp_config")
}

func TestInputFilesStayBelowInputs(t *testing.T) {
	b := backendtest.New(t)
	enqueue := func(path, name string) error {
		_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", Config: &backendv1.TaskConfig{
			InputFiles: []*backendv1.InputFile{{Name: name, Path: path, Source: &backendv1.InputFile_Attachment{Attachment: "attachments/" + backendtest.User + "/1/f"}}},
		}})
		return err
	}
	require.NoError(t, enqueue("data/täble 1.csv", "x"))
	require.NoError(t, enqueue("", "f.csv"))
	for _, path := range []string{"..", "../x", "a/../../x", "/etc/passwd", ".", "a//b", "a/", "a\nb", strings.Repeat("n", 256)} {
		require.ErrorContains(t, enqueue(path, "x"), "input_files[0].path", path)
		require.ErrorContains(t, enqueue("", path), "input_files[0].path", path)
	}
}

// What is asked of Git is refused at once, in words: not by an executor, and not
// with the expression that it did not match.
func TestRepositoriesThatCannotBeClonedAreRefused(t *testing.T) {
	b := backendtest.New(t)
	enqueue := func(cfg *backendv1.TaskConfig) error {
		_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", Config: cfg})
		return err
	}
	for _, url := range []string{"https://h/o/.github", "https://h/o/my%20repo.git", "https://h/o/c++lib.git"} {
		require.NoError(t, enqueue(&backendv1.TaskConfig{RepoUrl: &url, GitBranch: new("feature/x")}), url)
	}
	for url, want := range map[string]string{
		"git@github.com:org/repo.git": "config.repo_url: is an SSH address, and sandboxes hold no SSH keys: write https://github.com/org/repo.git",
		"file:///etc":                 "config.repo_url: is a folder",
		"ext::sh -c id":               "config.repo_url: must be an https:// URL",
	} {
		err := enqueue(&backendv1.TaskConfig{RepoUrl: &url})
		require.ErrorContains(t, err, want)
		_, err = b.Sessions.CreateSession(t.Context(), &backendv1.CreateSessionRequest{Config: &backendv1.TaskConfig{RepoUrl: &url}})
		require.ErrorContains(t, err, want)
	}
	err := enqueue(&backendv1.TaskConfig{RepoUrl: new("https://h/o/r"), GitBranch: new("a b")})
	require.ErrorContains(t, err, "config.git_branch: must not have spaces")
}

// A repository's password is for the clone alone.
func TestAnswersDoNotRepeatARepositorysPassword(t *testing.T) {
	b := backendtest.New(t)
	e, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
		Prompt: "x", Config: &backendv1.TaskConfig{RepoUrl: new("https://me:secret@h/o/r.git")},
	})
	require.NoError(t, err)
	s := b.Session(t, e.GetSessionId())
	require.Equal(t, "https://h/o/r.git", s.GetConfig().GetRepoUrl())
	require.Equal(t, "https://me:secret@h/o/r.git", b.Claim(t, "w1").GetConfig().GetRepoUrl())
}

func TestInputsThatAreNamedByURL(t *testing.T) {
	b := backendtest.New(t)
	enqueue := func(f *backendv1.InputFile) error {
		_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{
			Prompt: "x", Config: &backendv1.TaskConfig{InputFiles: []*backendv1.InputFile{f}},
		})
		return err
	}
	from := func(url string) *backendv1.InputFile {
		return &backendv1.InputFile{Source: &backendv1.InputFile_Url{Url: url}}
	}
	for _, source := range []string{"https://example.com/data.csv?x=y", "http://h:8080/", "https://github.com/org/repo.git"} {
		require.NoError(t, enqueue(from(source)), source)
	}
	for source, want := range map[string]string{
		"ftp://h/x": "config.input_files[0].url: must be an http:// or https:// URL", "data.csv": "must be an http://", "https:///x": "must be an http://",
		"https://u:p@h/x": "must not have a user or password", "https://gitlab.com/o/r.git": "set config.repo_url",
	} {
		require.ErrorContains(t, enqueue(from(source)), want, source)
	}
	require.ErrorContains(t, enqueue(&backendv1.InputFile{Source: from("https://h/x").GetSource(), Path: "../x"}), "config.input_files[0].path")
}

// What would have no effect is refused, by the name of its field.
// A mistyped agent is told with those that there are.
func TestAgentsThatAreNotThereAreRefused(t *testing.T) {
	b := backendtest.New(t)
	_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", Config: &backendv1.TaskConfig{Agent: new("cluade")}})
	require.Equal(t, connect.CodeInvalidArgument, rpcerror.CodeOf(err))
	require.ErrorContains(t, err, `config.agent: names "cluade", and the agents are: `+agents.List())
}

func TestWhatWouldHaveNoEffectIsRefused(t *testing.T) {
	b := backendtest.New(t)
	repo, other := new("https://github.com/a/b"), new("https://github.com/a/c")
	cloned := func() string {
		_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", Config: &backendv1.TaskConfig{RepoUrl: repo, GitBranch: new("main")}})
		require.NoError(t, err)
		c := b.Claim(t, "w1")
		_, err = b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
		require.NoError(t, err)
		return c.GetRun().GetSessionId()
	}()
	// In order: what is accepted becomes the session's.
	for _, c := range []struct {
		name    string
		session string
		config  *backendv1.TaskConfig
		field   string
	}{
		{"an MCP server that nobody installed", "", &backendv1.TaskConfig{McpConfig: map[string]bool{"a": false, "b": true}}, "config.mcp_config"},
		{"a skill that nobody installed", "", &backendv1.TaskConfig{SkillConfig: map[string]bool{"a": true}}, "config.skill_config"},
		{"what is off without being switched", "", &backendv1.TaskConfig{SkillConfig: map[string]bool{"a": false}}, ""},
		{"a branch of no repository", "", &backendv1.TaskConfig{GitBranch: new("main")}, "config.git_branch"},
		{"another branch than the clone's", cloned, &backendv1.TaskConfig{GitBranch: new("dev")}, "config.git_branch"},
		{"the clone's branch", cloned, &backendv1.TaskConfig{GitBranch: new("main")}, ""},
		{"another repository, and a branch too", cloned, &backendv1.TaskConfig{RepoUrl: other, GitBranch: new("dev")}, ""},
	} {
		_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", SessionId: c.session, Config: c.config})
		if c.field == "" {
			require.NoError(t, err, c.name)
			continue
		}
		require.Equal(t, connect.CodeInvalidArgument, rpcerror.CodeOf(err), c.name)
		require.ErrorContains(t, err, c.field, c.name)
		if c.session == "" {
			_, err := b.Sessions.CreateSession(t.Context(), &backendv1.CreateSessionRequest{Config: c.config})
			require.ErrorContains(t, err, c.field, c.name)
		}
	}
}
