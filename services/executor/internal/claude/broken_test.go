package claude

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/process"
)

// An answer that breaks off is asked for again, or gone on with.
func TestRealBrokenAnswers(t *testing.T) {
	opts, model := real(t, "[[broken]]")
	r := &recorder{}
	outcome := New(opts, r).Run(t.Context())
	requireStatus(t, completed, 0, outcome)
	require.Equal(t, 2, model.Stats().Messages)
	require.Contains(t, r.log(), "retry 1/5 0 API Error: Overloaded")
	require.Contains(t, r.log(), "That is all there is in this scenario.", "the model was told to go on, and has said all before")
	require.EqualValues(t, 2, outcome.Usage.GetNumTurns())

	// The CLI takes for the whole what came of a stream that just ends.
	opts, model = real(t, "[[ends]]")
	r = &recorder{}
	requireStatus(t, completed, 0, New(opts, r).Run(t.Context()))
	require.Equal(t, 3, model.Stats().Messages)
	require.Contains(t, r.log(), "retry 1/5 0 The model's answer broke off.")

	// How much the CLI saw before the cut decides which of the two it is.
	opts, model = real(t, "[[cut]]")
	requireStatus(t, completed, 0, New(opts, &recorder{}).Run(t.Context()))
	require.Equal(t, 2, model.Stats().Messages)
}

func TestBrokenAnswersAreBounded(t *testing.T) {
	a := New(fake(t, "unused"), &recorder{})
	a.process, a.kill = &process.Process{}, newStoppedTimer()
	turn := func() {
		a.read(process.Line{Data: []byte(`{"type":"stream_event","event":{"type":"message_start","message":{"id":"m"}}}`)})
		a.read(process.Line{Data: []byte(`{"type":"result","subtype":"success","is_error":false,"stop_reason":null,"result":"half"}`)})
	}
	for range maxContinued {
		turn()
		require.Nil(t, a.result)
		a.killStep()
	}
	turn()
	require.NotNil(t, a.result)
	requireStatus(t, failed, backendv1.RunReason_RUN_REASON_AGENT_ERROR, *a.result)
	require.Equal(t, "The model's answer broke off.", a.result.Message)
	a.kill.Stop()
}

// The agent may make a plan unasked. Nobody approves it in a person's name, and
// nothing of it is done before.
func TestRealPlanOfItsOwn(t *testing.T) {
	for answer, want := range map[string]string{planApprove: "User has approved your plan", planReject: "The user wants to keep planning"} {
		t.Run(answer, func(t *testing.T) {
			opts, _ := real(t, "[[plans]]")
			r := &recorder{}
			a := New(opts, r)
			r.on = func(p *executorv1.RunEventPayload) {
				if asked := p.GetUserInputRequested(); asked != nil {
					go a.Answer(asked.GetUserInputRequestId(), said(asked, answer))
				}
			}
			requireStatus(t, completed, 0, a.Run(t.Context()))
			require.Contains(t, r.log(), "asked ExitPlanMode Go ahead with this plan?")
			require.Contains(t, r.log(), want)
			require.Contains(t, r.log(), "user result(This is plan mode, and the user h, error=true)")
			require.NoFileExists(t, filepath.Join(opts.Dir, "planned.txt"))
			require.NoFileExists(t, filepath.Join(opts.Dir, "early.txt"))
			_, err := os.Stat(filepath.Join(opts.Dir, "done.txt"))
			require.Equal(t, answer == planApprove, err == nil, "the plan is carried out when it is approved")
		})
	}
}

// Not every refusal is the model API's.
func TestWhoRefused(t *testing.T) {
	cases := map[string]struct {
		status int32
		text   string
		reason backendv1.RunReason
		says   string
	}{
		"the API, 401":     {401, "Failed to authenticate. API Error: 401 invalid x-api-key", backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, "Check ANTHROPIC_AUTH_TOKEN"},
		"the API, 403":     {403, "Failed to authenticate. API Error: 403 not yours", backendv1.RunReason_RUN_REASON_AUTHENTICATION_FAILED, "Check ANTHROPIC_AUTH_TOKEN"},
		"a page":           {403, "Failed to authenticate. API Error: Blocked by Example", backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE, "(HTTP 403: Blocked by Example). Check proxies"},
		"a proxy":          {407, "API Error: Sign in to the proxy", backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE, "(HTTP 407: Sign in to the proxy)"},
		"said the gateway": {424, "API Error: 424 example.com answered HTTP 403", backendv1.RunReason_RUN_REASON_MODEL_UNREACHABLE, "The model API was not reached: example.com answered HTTP 403."},
		"another failure":  {400, "API Error: 400 too long", backendv1.RunReason_RUN_REASON_AGENT_ERROR, "too long"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			outcome := ofResult("success", &wireResult{IsError: true, APIErrorStatus: c.status, Result: c.text}, false)
			requireStatus(t, failed, c.reason, outcome)
			require.Contains(t, outcome.Message, c.says)
		})
	}
}
