package claude

import (
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// The CLI itself retries a call that fails before the answer begins, and asks
// again for an answer of which it has nothing yet. One that breaks off later,
// by an overload or a cut connection, ends its turn: with the error, or even
// with success, because it takes what there is for the whole. Neither is the end
// of the work, so the model is asked to go on.
const (
	// maxContinued and firstPause bound that: five times in half a minute. A
	// longer overload is met by the CLI's own retries, with longer pauses.
	maxContinued = 5
	firstPause   = time.Second

	// brokenPrompt is what the model is told.
	brokenPrompt = "The connection to the model broke off in the middle of your last answer. Continue from where you left off."
)

// continueBrokenAnswer asks the model to go on if the turn ended in the middle
// of an answer, and says whether it does.
func (a *Agent) continueBrokenAnswer(r *wireResult) bool {
	if !a.translator.brokeOff(r) {
		return false
	}
	if !r.IsError { // What came is not the whole, whatever the CLI says.
		r.IsError, r.Result = true, "The model's answer broke off."
	}
	if a.continued == maxContinued {
		return false
	}
	pause := firstPause << a.continued
	a.continued++
	a.sink.Emit(&executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_ApiRetried{ApiRetried: &backendv1.ApiRetried{
		Attempt: a.continued, MaxRetries: maxContinued, RetryDelay: durationpb.New(pause), Error: r.Result,
	}}})
	a.silentUntil = time.Now().Add(pause)
	a.escalateAfter(pause, func() { a.send(userMessage(uuid.NewString(), brokenPrompt)) })
	return true
}

// brokeOff says whether a turn ended in the middle of an answer. The result's
// own reason why the model stopped does not tell: it may be that of the answer
// before.
func (t *translator) brokeOff(r *wireResult) bool {
	_, writing := t.writing[""]
	delete(t.writing, "")
	return writing && r.APIErrorStatus == 0
}
