package contracttest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

var everyCall = map[string]func(*fixture){
	"in every state of a run": func(f *fixture) {
		for _, c := range []struct {
			state                                   string
			run                                     func(*fixture) *run
			start, append, finish, resolve, recover refusal
		}{
			{"unknown", (*fixture).unknown, unknown, unknown, unknown, unknown, unknown},
			{"claimed", (*fixture).claimed, accepted, notStarted, accepted, accepted, notFinished},
			{"running", (*fixture).running, accepted, accepted, accepted, accepted, notFinished},
			{"canceling", (*fixture).canceling, wasCanceled, accepted, accepted, accepted, notFinished},
			{"canceled", (*fixture).canceled, wasCanceled, finished, accepted, accepted, accepted},
			{"failed", (*fixture).failed, finished, finished, accepted, accepted, accepted},
			{"completed", (*fixture).completed, finished, finished, accepted, accepted, accepted},
			{"given back", (*fixture).givenBack, stale, stale, stale, stale, notFinished},
			{"adopted", (*fixture).adopted, stale, stale, stale, stale, notFinished},
			{"lost", (*fixture).lost, stale, stale, stale, stale, accepted},
			// The last, because the others claim what waits.
			{"queued", (*fixture).queued, stale, stale, stale, stale, notFinished},
		} {
			for call, one := range map[string]struct {
				want refusal
				of   func(*run) error
			}{
				"StartRun":        {c.start, func(r *run) error { _, err := r.start(); return err }},
				"AppendRunEvents": {c.append, func(r *run) error { _, err := r.append(notice(r.acked + 1)); return err }},
				"FinishRun": {c.finish, func(r *run) error {
					_, err := r.finish(failed, backendv1.RunReason_RUN_REASON_IMAGE_MISSING)
					return err
				}},
				"RecoverRunEvents": {c.recover, func(r *run) error { _, err := r.recover("w1", notice(r.acked+1)); return err }},
				"ResolveRunConfig": {c.resolve, func(r *run) error { _, err := r.resolve(); return err }},
			} {
				f.t.Run(c.state+"/"+call, func(t *testing.T) {
					require.Equal(t, one.want, refusalOf(one.of(c.run(&fixture{t, f.Subject}))))
				})
			}
		}
	},
	"with wrong arguments": func(f *fixture) {
		id, none, short := uuid.NewString(), "not an id", durationpb.New(time.Millisecond)
		for name, call := range map[string]func(context.Context) error{
			"ClaimRuns for nobody":     sent(f.ClaimRuns, &queuev1.ClaimRunsRequest{MaxRuns: 1, LeaseDuration: lease}),
			"ClaimRuns of none":        sent(f.ClaimRuns, &queuev1.ClaimRunsRequest{WorkerId: "w1", LeaseDuration: lease}),
			"ClaimRuns of too many":    sent(f.ClaimRuns, &queuev1.ClaimRunsRequest{WorkerId: "w1", MaxRuns: 101, LeaseDuration: lease}),
			"ClaimRuns for no time":    sent(f.ClaimRuns, &queuev1.ClaimRunsRequest{WorkerId: "w1", MaxRuns: 1}),
			"ClaimRuns too shortly":    sent(f.ClaimRuns, &queuev1.ClaimRunsRequest{WorkerId: "w1", MaxRuns: 1, LeaseDuration: short}),
			"RenewLeases for nobody":   sent(f.RenewLeases, &queuev1.RenewLeasesRequest{LeaseDuration: lease}),
			"RenewLeases of no run":    sent(f.RenewLeases, &queuev1.RenewLeasesRequest{WorkerId: "w1", LeaseDuration: lease, Leases: []*queuev1.Lease{{RunId: none}}}),
			"AdoptRuns for nobody":     sent(f.AdoptRuns, &queuev1.AdoptRunsRequest{LeaseDuration: lease}),
			"ReleaseRuns for nobody":   sent(f.ReleaseRuns, &queuev1.ReleaseRunsRequest{}),
			"StartRun":                 sent(f.StartRun, &queuev1.StartRunRequest{RunId: none}),
			"AppendRunEvents":          sent(f.AppendRunEvents, &queuev1.AppendRunEventsRequest{RunId: none}),
			"RecoverRunEvents":         sent(f.RecoverRunEvents, &queuev1.RecoverRunEventsRequest{RunId: id}),
			"FinishRun without reason": sent(f.FinishRun, &queuev1.FinishRunRequest{RunId: id, Status: failed}),
			"FinishRun as completed":   sent(f.FinishRun, &queuev1.FinishRunRequest{RunId: id, Status: completed, Reason: backendv1.RunReason_RUN_REASON_IMAGE_MISSING}),
			"ReportExport as pending": sent(f.ReportExport, &queuev1.ReportExportRequest{
				WorkerId: "w1", SessionId: id, RunId: id, Status: backendv1.ExportStatus_EXPORT_STATUS_PENDING,
			}),
			"ListPendingExports": sent(f.ListPendingExports, &queuev1.ListPendingExportsRequest{}),
			"AckRunCommand":      sent(f.AckRunCommand, &queuev1.AckRunCommandRequest{WorkerId: "w1", CommandId: none}),
			"ResolveRunConfig":   sent(f.ResolveRunConfig, &queuev1.ResolveRunConfigRequest{RunId: none}),
			"WatchQueue":         watched(f.WatchQueue, &queuev1.WatchQueueRequest{}),
			"WatchRunCommands":   watched(f.WatchRunCommands, &queuev1.WatchRunCommandsRequest{}),
		} {
			require.Equal(f.t, invalid, refusalOf(call(f.t.Context())), name)
		}
	},
}

// sent is a call that tells its error only.
func sent[Req, Resp any](call func(context.Context, *Req, ...grpc.CallOption) (*Resp, error), req *Req) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := call(ctx, req)
		return err
	}
}

// watched is a stream of which one message is received.
func watched[Req, Resp any](open func(context.Context, *Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Resp], error), req *Req) func(context.Context) error {
	return func(ctx context.Context) error {
		stream, err := open(ctx, req)
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
}
