package claude

import (
	"os"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
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
	first.on = func(p *backendv1.EventPayload) {
		opts.ResumeID += p.GetAgentStarted().GetAgentSessionId()
		if asked := p.GetUserInputRequested(); asked != nil {
			go a.Answer(asked.GetUserInputRequestId(), map[string]string{asked.GetQuestions()[0].GetQuestion(): "Spanish"})
		}
	}
	requireStatus(t, completed, "", a.Run(t.Context()))
	said := first.messages()
	require.Greater(t, len(said), 10)

	// Each way of having been heard: not at all, in part, with a gap, whole.
	for name, heard := range map[string][]*backendv1.MessageAdded{
		"nothing": nil, "the beginning": said[:3], "with a gap": slices.Concat(said[:4], said[6:]), "all": said,
	} {
		t.Run(name, func(t *testing.T) {
			again := opts
			again.Prompt, again.PromptID = ContinuePrompt, ""
			again.Resumes = &Resumption{PromptID: opts.PromptID, Reported: map[string]bool{}}
			for _, m := range heard {
				again.Resumes.Reported[m.GetMessageId()] = true
			}
			// Its own copy: an agent that goes on adds to the conversation.
			copySession(t, &again)
			second := &recorder{}
			requireStatus(t, completed, "", New(again, second).Run(t.Context()))
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
	require.NoError(t, os.CopyFS(config, os.DirFS(opts.ConfigDir)))
	opts.ConfigDir = config
}
