// Package contracttest is what the services rely on in each other, as tests
// that the real thing and its fake pass alike.
package contracttest

import (
	"maps"
	"slices"
	"testing"

	"connectrpc.com/connect/v2"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// Subject is an empty queue of runs: what managers call, and what happens to it
// beside that.
type Subject interface {
	queuev1.RunQueueServiceClient
	// Enqueue queues a prompt in a session, or in a new one when the id is empty.
	Enqueue(t testing.TB, sessionID, prompt string, config *backendv1.TaskConfig) (session, run string)
	// Cancel cancels a run, with a message for people.
	Cancel(t testing.TB, runID, message string)
	// Delete deletes a session.
	Delete(t testing.TB, sessionID string)
	// Expire lets a run's lease run out, and acts on it.
	Expire(t testing.TB, runID string)
	// Leave lets the time pass after which a silent worker is gone.
	Leave(t testing.TB, worker string)
}

// RunQueue checks that a queue keeps the contract of poco.queue.v1. Each case
// opens a queue of its own.
func RunQueue(t *testing.T, open func(*testing.T) Subject) {
	for rpc, cases := range map[string]map[string]func(*fixture){
		"every call": everyCall, "ClaimRuns": claiming, "RenewLeases": renewing, "AdoptRuns": adopting, "ReleaseRuns": releasing,
		"AppendRunEvents": appending, "RecoverRunEvents": recovering, "FinishRun": finishing, "ReportExport": exporting, "streams": streaming,
	} {
		for _, name := range slices.Sorted(maps.Keys(cases)) {
			t.Run(rpc+"/"+name, func(t *testing.T) { cases[name](&fixture{t, open(t)}) })
		}
	}
}

// refusal is how a call was refused: its code and the reason in ErrorInfo. It is
// zero for a call that was not.
type refusal struct {
	code   connect.Code
	reason backendv1.ErrorReason
}

var (
	accepted    = refusal{}
	invalid     = refusal{connect.CodeInvalidArgument, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT}
	unknown     = refusal{connect.CodeNotFound, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND}
	stale       = refusal{connect.CodeFailedPrecondition, backendv1.ErrorReason_ERROR_REASON_FENCING_TOKEN_STALE}
	gap         = refusal{connect.CodeFailedPrecondition, backendv1.ErrorReason_ERROR_REASON_RUN_SEQ_GAP}
	wasCanceled = refusal{connect.CodeFailedPrecondition, backendv1.ErrorReason_ERROR_REASON_RUN_CANCELED}
	finished    = refusal{connect.CodeFailedPrecondition, backendv1.ErrorReason_ERROR_REASON_RUN_FINISHED}
	notFinished = refusal{connect.CodeFailedPrecondition, backendv1.ErrorReason_ERROR_REASON_RUN_NOT_FINISHED}
	notStarted  = refusal{connect.CodeFailedPrecondition, backendv1.ErrorReason_ERROR_REASON_RUN_NOT_STARTED}
)

func refusalOf(err error) refusal {
	if err == nil {
		return accepted
	}
	return refusal{rpcerror.CodeOf(err), rpcerror.Reason(err)}
}

// errOf is the error of a call whose answer says nothing.
func errOf[T any](_ T, err error) error { return err }
