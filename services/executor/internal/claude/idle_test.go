package claude

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
	"github.com/poco-ai/poco/services/executor/internal/process"
)

// TestIdle reads what the CLI says and looks whether its silence counts.
func TestIdle(t *testing.T) {
	const (
		use = `{"type":"assistant","message":{"id":"m","content":[{"type":"tool_use","id":"t1","name":"%","input":{"command":"make"}}]}}`
		// What follows is of a sub-agent that t1 started.
		subUse    = `{"type":"assistant","parent_tool_use_id":"t1","message":{"id":"s","content":[{"type":"tool_use","id":"t2","name":"Read","input":{}}]}}`
		result    = `{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"ok"}]}}`
		subResult = `{"type":"user","parent_tool_use_id":"t1","message":{"content":[{"type":"tool_result","tool_use_id":"t2","content":"ok"}]}}`
		requested = `{"type":"system","subtype":"status","status":"requesting"}`
		compacts  = `{"type":"system","subtype":"status","status":"compacting"}`
		compacted = `{"type":"system","subtype":"status","status":null}`
		began     = `{"type":"system","subtype":"task_started","task_id":"b","task_type":"local_bash","tool_use_id":"t1","description":"d"}`
		ended     = `{"type":"system","subtype":"task_notification","task_id":"b","status":"completed"}`
		updated   = `{"type":"system","subtype":"task_updated","task_id":"b","patch":{"status":"completed"}}`
		asks      = `{"type":"control_request","request_id":"q","request":{"subtype":"can_use_tool","tool_name":"AskUserQuestion","input":{"questions":[]}}}`
		withdrawn = `{"type":"control_cancel_request","request_id":"q"}`
		retries   = `{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":3600000,"error_status":529,"error":"overloaded"}`
	)
	cases := map[string]struct {
		lines []string
		idle  bool
	}{
		"nothing said":                      {nil, true},
		"a model call in flight":            {[]string{requested}, true},
		"a tool at work":                    {[]string{requested, use}, false},
		"a tool that has answered":          {[]string{requested, use, result, requested}, true},
		"a tool of a sub-agent":             {[]string{use, subUse}, false},
		"a sub-agent between its tools":     {[]string{use, subUse, subResult}, false},
		"a task":                            {[]string{use, began, result, requested}, false},
		"a task that has ended":             {[]string{use, began, ended, result, requested}, true},
		"a task that ended, and was told":   {[]string{use, began, result, updated, requested}, true},
		"a compaction":                      {[]string{compacts}, false},
		"after a compaction":                {[]string{compacts, compacted}, true},
		"a question":                        {[]string{asks}, false},
		"after a question":                  {[]string{asks, withdrawn}, true},
		"waiting before a model call again": {[]string{retries}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := New(Options{Task: agent.Task{IdleTimeout: time.Minute}}, &recorder{})
			a.lastLine, a.submitted = time.Now(), true
			for _, l := range c.lines {
				a.read(process.Line{Data: []byte(l)})
			}
			until, _ := a.patience()
			require.Equal(t, c.idle, !until.IsZero() && until.Before(time.Now().Add(2*time.Minute)))
		})
	}
}

// How long the CLI may take to start is bounded by initializeTimeout.
func TestAStartIsNotIdle(t *testing.T) {
	a := New(Options{Task: agent.Task{IdleTimeout: time.Minute}}, &recorder{})
	a.lastLine = time.Now()
	until, _ := a.patience()
	require.Zero(t, until)
}

func TestBackgroundTimeoutCountsFromTheLastSignOfLife(t *testing.T) {
	opts := fake(t, "unused")
	opts.BackgroundTimeout = time.Minute
	a := New(opts, &recorder{})
	for _, l := range []string{
		`{"type":"system","subtype":"session_state_changed","state":"running"}`,
		`{"type":"system","subtype":"task_started","task_id":"b","task_type":"local_agent","description":"d"}`,
		`{"type":"result","subtype":"success","is_error":false}`,
	} {
		a.read(process.Line{Data: []byte(l)})
	}
	require.False(t, a.resting, "the turn is not over before the CLI says so")
	a.read(process.Line{Data: []byte(`{"type":"system","subtype":"session_state_changed","state":"idle"}`)})
	require.True(t, a.resting)
	a.lastLine = time.Now().Add(time.Hour)
	until, over := a.patience()
	require.NotNil(t, over)
	require.Equal(t, a.lastLine.Add(time.Minute), until)

	// It has ended, and the CLI still has to tell its model.
	a.read(process.Line{Data: []byte(`{"type":"system","subtype":"task_updated","task_id":"b","patch":{"status":"completed"}}`)})
	require.True(t, a.resting)
	require.False(t, a.finished)
	until, _ = a.patience()
	require.Equal(t, a.lastLine.Add(wakeTimeout), until)
}

// A CLI that is killed may have its result ready.
func TestFakeLateResult(t *testing.T) {
	opts := fake(t, "late")
	opts.IdleTimeout = time.Second
	outcome, _ := runFake(t, opts)
	require.Equal(t, backendv1.RunReason_RUN_REASON_IDLE_TIMEOUT, outcome.Reason, outcome.Message)

	r := &recorder{}
	a := New(fake(t, "late"), r)
	r.on = func(*executorv1.RunEventPayload) {
		go a.call(func() { a.end(agent.Failed(backendv1.RunReason_RUN_REASON_RUN_TIMEOUT, "late"), false) })
	}
	outcome = a.Run(t.Context())
	require.Equal(t, backendv1.RunReason_RUN_REASON_RUN_TIMEOUT, outcome.Reason, outcome.Message)
	require.InDelta(t, 0.5, outcome.Usage.GetTotalCostUsd(), 1e-9, "what it cost is known all the same")
}

// What ended well stays so, whatever comes after it.
func TestFakeKilledAfterItsResult(t *testing.T) {
	r := &recorder{}
	a := New(fake(t, "lingers"), r)
	finished := make(chan struct{})
	go func() {
		for done := false; !done; {
			answer := make(chan bool, 1)
			a.call(func() { answer <- a.finished })
			select {
			case done = <-answer:
			case <-a.done:
				done = true
			}
		}
		a.End(agent.Failed(backendv1.RunReason_RUN_REASON_RUN_TIMEOUT, "late"))
		close(finished)
	}()
	require.Equal(t, completed, a.Run(t.Context()).Status)
	<-finished
}
