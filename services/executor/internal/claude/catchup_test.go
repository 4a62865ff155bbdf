package claude

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/internal/scriptedmodel"
)

// messages are those that were reported, without their verbatim form.
func (r *recorder) messages() []*backendv1.MessageAdded {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*backendv1.MessageAdded
	for _, p := range r.payloads {
		if added := proto.CloneOf(p.GetMessageAdded()); added != nil {
			added.VerbatimJson = ""
			all = append(all, added)
		}
	}
	return all
}

func TestRealConversationIsReportedToItsEnd(t *testing.T) {
	opts, _ := real(t, "show me [[demo]]")
	opts.PromptID = uuid.NewString()
	first := &recorder{}
	a := New(opts, first)
	first.on = func(p *executorv1.RunEventPayload) {
		opts.ResumeID += p.GetAgentStarted().GetAgentSessionId()
		if asked := p.GetUserInputRequested(); asked != nil {
			go a.Answer(asked.GetUserInputRequestId(), said(asked, "Spanish"))
		}
	}
	requireStatus(t, completed, 0, a.Run(t.Context()))
	said := first.messages()
	require.Greater(t, len(said), 10)

	// Each way of having been heard: not at all, in part, with a gap, whole.
	for name, heard := range map[string][]*backendv1.MessageAdded{
		"nothing": nil, "the beginning": said[:3], "with a gap": slices.Concat(said[:4], said[6:]), "all": said,
	} {
		t.Run(name, func(t *testing.T) {
			again := opts
			again.Prompt, again.PromptID = agent.ContinuePrompt, ""
			again.Resumes = &agent.Resumption{PromptID: opts.PromptID, Reported: map[string]bool{}}
			for _, m := range heard {
				again.Resumes.Reported[m.GetMessageId()] = true
			}
			// Its own copy: an agent that goes on adds to the conversation.
			copySession(t, &again)
			second := &recorder{}
			requireStatus(t, completed, 0, New(again, second).Run(t.Context()))
			var missing []*backendv1.MessageAdded
			for _, m := range said {
				if !again.Resumes.Reported[m.GetMessageId()] {
					missing = append(missing, m)
				}
			}
			told := second.messages()
			require.GreaterOrEqual(t, len(told), len(missing))
			for i, m := range missing {
				require.True(t, proto.Equal(m, told[i]), "%v is told as %v", m, told[i])
			}
			for _, m := range told[len(missing):] {
				require.False(t, slices.ContainsFunc(said, func(s *backendv1.MessageAdded) bool { return s.GetMessageId() == m.GetMessageId() }), "told twice: %v", m)
			}
		})
	}
}

// copySession moves a run into a copy of its session's folders. The workspace's
// path is part of the conversation's.
func copySession(t *testing.T, opts *Options) {
	t.Helper()
	config := t.TempDir()
	require.NoError(t, os.CopyFS(config, os.DirFS(opts.StateDir)))
	opts.StateDir = config
}

// The CLI prints a message before it writes it down. Killed in between, it is told
// what it did by the record, and does not do it again.
func TestRealConversationIsRestoredFromTheRecord(t *testing.T) {
	step := func(name string) scriptedmodel.Turn {
		return scriptedmodel.Turn{Blocks: []scriptedmodel.Block{{Tool: &scriptedmodel.Tool{
			Name: "Bash", Input: map[string]any{"command": "echo " + name + " >>steps; echo did " + name, "description": name},
		}}}}
	}
	opts, _ := real(t, "[[steps]]", scriptedmodel.Scenario{Name: "steps", Turns: []scriptedmodel.Turn{
		step("one"), step("two"), {Blocks: []scriptedmodel.Block{{Text: "All done."}}},
	}})
	opts.PromptID = uuid.NewString()
	first := &recorder{}
	first.on = func(p *executorv1.RunEventPayload) { opts.ResumeID += p.GetAgentStarted().GetAgentSessionId() }
	requireStatus(t, completed, 0, New(opts, first).Run(t.Context()))
	var printed, ids []string
	for _, p := range first.payloads {
		if m := p.GetMessageAdded(); m != nil {
			printed, ids = append(printed, m.GetVerbatimJson()), append(ids, m.GetMessageId())
		}
	}
	require.Len(t, ids, 5, "two calls, two results, the end")

	// How much of it the CLI had written down, and the record.
	for name, c := range map[string]struct {
		written, reported int
		steps             string
	}{
		"all but the prompt":                    {0, 3, "two\n"},
		"the result is missing":                 {1, 2, "two\n"},
		"the result and the next call":          {1, 3, "two\n"},
		"all that came after the first call":    {1, 4, ""},
		"the record is behind the conversation": {2, 1, "two\n"},
		"nothing is missing":                    {4, 4, ""},
	} {
		t.Run(name, func(t *testing.T) {
			again := opts
			again.Prompt, again.PromptID = agent.ContinuePrompt, ""
			again.Resumes = &agent.Resumption{PromptID: opts.PromptID, Reported: map[string]bool{}, Latest: printed[:c.reported]}
			for _, id := range ids[:c.reported] {
				again.Resumes.Reported[id] = true
			}
			copySession(t, &again)
			require.NoError(t, os.Remove(filepath.Join(opts.Dir, "steps")))
			require.NoError(t, os.WriteFile(filepath.Join(opts.Dir, "steps"), nil, 0o600))
			cutConversation(t, again.StateDir, append([]string{opts.PromptID}, ids...)[c.written])
			second := &recorder{}
			requireStatus(t, completed, 0, New(again, second).Run(t.Context()))
			require.Empty(t, second.notice(noticeUnread))
			steps, err := os.ReadFile(filepath.Join(opts.Dir, "steps"))
			require.NoError(t, err)
			require.Equal(t, c.steps, string(steps))
			require.Contains(t, second.log(), "text(All done.)")
		})
	}
}

// cutConversation removes what a transcript has behind a message, in the middle of
// the line that follows.
func cutConversation(t *testing.T, configDir, last string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(configDir, "projects", "*", "*.jsonl"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	content, err := os.ReadFile(names[0])
	require.NoError(t, err)
	var kept []byte
	for line := range bytes.Lines(content) {
		kept = append(kept, line...)
		if bytes.Contains(line, []byte(`"uuid":"`+last+`"`)) {
			break
		}
	}
	require.Less(t, len(kept), len(content))
	require.NoError(t, os.WriteFile(names[0], append(kept, `{"type":"user","uu`...), 0o600))
}
