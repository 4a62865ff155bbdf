// Package export copies workspaces to object storage when their runs have
// ended: what people see of them, and a private snapshot from which the session
// can go on elsewhere.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/manager/internal/workspace"
)

const (
	// parallelExports at the same time; the others wait their turn.
	parallelExports = 2
	// attempts of one export; what is left after them is RetryExport's.
	attempts     = 3
	attemptPause = 500 * time.Millisecond
	// exportTimeout bounds one attempt, of the snapshot as well.
	exportTimeout = 30 * time.Minute
	// reportTimeout bounds one ReportExport call; reportFor is how long a report
	// is tried before it is left to the next look at the pending exports.
	reportTimeout = 10 * time.Second
	reportFor     = 2 * time.Minute
	maxReason     = 2000
)

// Objects is the store that exports go to.
type Objects interface {
	Put(ctx context.Context, key, contentType string, body io.Reader, size int64) error
	Get(ctx context.Context, key string) (io.ReadCloser, objectstore.Object, error)
	Delete(ctx context.Context, keys ...string) error
}

// Queue is what the exporter tells the backend.
type Queue interface {
	ReportExport(context.Context, *queuev1.ReportExportRequest, ...grpc.CallOption) (*queuev1.ReportExportResponse, error)
}

// Workspaces opens what is exported, and remembers what it is kept as.
type Workspaces interface {
	OpenWorkspace(userID, sessionID string) (*os.Root, error)
	OpenState(userID, sessionID string) (*os.Root, error)
	OpenSession(userID, sessionID string) (*os.Root, error)
	Snapshotted(userID, sessionID, key string, complete bool) error
}

// Options describes an Exporter.
type Options struct {
	WorkerID   string
	Objects    Objects
	Endpoint   string // of the object store, for messages
	Queue      Queue
	Workspaces Workspaces
	// IgnoreDotFiles leaves dot files out.
	IgnoreDotFiles bool
	Logger         *slog.Logger
}

// Job is one export to be made.
type Job struct {
	SessionID, RunID, UserID string
}

// Exporter makes exports in the background, at most one for a session.
type Exporter struct {
	opts    Options
	metrics *Metrics
	slots   chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	running map[string]*running // by session
}

type running struct {
	job    Job
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// ErrSuperseded is why an export stops when a new run of its session starts:
// the new run's end exports everything.
var ErrSuperseded = errors.New("superseded by a new run of the session")

// New returns an exporter; Close must be called.
func New(opts Options) *Exporter {
	return &Exporter{opts: opts, metrics: newMetrics(), slots: make(chan struct{}, parallelExports), running: make(map[string]*running)}
}

// Start begins an export and returns. A running one of the same session goes
// first, so that the newest state is what stays.
func (e *Exporter) Start(job Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.running[job.SessionID]
	if e.closed || before != nil && before.job == job {
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &running{job: job, cancel: cancel, done: make(chan struct{})}
	e.running[job.SessionID] = r
	e.wg.Go(func() {
		defer e.ended(r)
		if before != nil {
			before.cancel(ErrSuperseded)
			<-before.done
		}
		e.run(ctx, job)
	})
}

func (e *Exporter) ended(r *running) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running[r.job.SessionID] == r {
		delete(e.running, r.job.SessionID)
	}
	r.cancel(nil)
	close(r.done)
}

// Running tells whether an export of the session is under way.
func (e *Exporter) Running(sessionID string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running[sessionID] != nil
}

// Supersede stops a session's export and waits until it reads the workspace
// no more. Call it before a new run touches the workspace.
func (e *Exporter) Supersede(ctx context.Context, sessionID string) error {
	e.mu.Lock()
	r := e.running[sessionID]
	e.mu.Unlock()
	if r == nil {
		return nil
	}
	r.cancel(ErrSuperseded)
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close stops all exports; what is not finished stays pending in the backend
// and goes on after a restart.
func (e *Exporter) Close() {
	e.mu.Lock()
	e.closed = true
	for _, r := range e.running {
		r.cancel(context.Canceled)
	}
	e.mu.Unlock()
	e.wg.Wait()
}

// run makes an export and reports it.
func (e *Exporter) run(ctx context.Context, job Job) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return
	}
	ctx = logging.WithRun(ctx, job.RunID, job.SessionID)
	logger := logging.OfRun(e.opts.Logger, job.RunID, job.SessionID)
	start := time.Now()
	result, err := attempt(ctx, func(ctx context.Context) (Result, error) { return e.exportOnce(ctx, job) })
	if ctx.Err() != nil {
		logger.Info("export stopped", logging.KeyError, context.Cause(ctx))
		return
	}
	report := &queuev1.ReportExportRequest{WorkerId: e.opts.WorkerID, SessionId: job.SessionID, RunId: job.RunID}
	if err != nil {
		report.Status, report.Reason = backendv1.ExportStatus_EXPORT_STATUS_FAILED, e.reason(err)
		logger.Error("export failed", logging.KeyError, err)
	} else {
		report.Status = backendv1.ExportStatus_EXPORT_STATUS_READY
		report.ManifestKey, report.ArchiveKey, report.FilesPrefix = result.Keys.Manifest, result.Keys.Archive, result.Keys.Files
		report.FileCount, report.TotalBytes, report.MissingCount = result.Files, result.Bytes, result.Missing.count()
		report.Reason = cut(incomplete(result.Missing))
		logger.Info("workspace exported", "files", result.Files, "bytes", result.Bytes, "missing", report.MissingCount, "duration", time.Since(start))
	}
	e.metrics.exports.WithLabelValues(outcome(err)).Inc()
	// When the object storage is away, the snapshot needs no tries of its own.
	complete := true
	if err == nil {
		var lacks *missing
		report.SnapshotKey, lacks = e.snapshot(ctx, job, logger)
		if complete = !lacks.content(); !complete {
			report.Reason = cut(strings.TrimSpace(report.Reason + " Should the session go on elsewhere, it would lack " + lacks.list() + "."))
		}
	}
	resp, err := e.report(ctx, report)
	if err != nil {
		if ctx.Err() == nil {
			logger.Warn("export could not be reported", logging.KeyError, err)
		}
		return
	}
	e.settleSnapshot(ctx, job, report.GetSnapshotKey(), complete, resp, logger)
}

// attempt tries one step of an export a few times.
func attempt[T any](ctx context.Context, step func(context.Context) (T, error)) (T, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = attemptPause
	return backoff.Retry(ctx, func() (T, error) {
		ctx, cancel := context.WithTimeout(ctx, exportTimeout)
		defer cancel()
		result, err := step(ctx)
		if errors.Is(err, workspace.ErrMissing) {
			err = backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(attempts))
}

func (e *Exporter) report(ctx context.Context, req *queuev1.ReportExportRequest) (*queuev1.ReportExportResponse, error) {
	return backoff.Retry(ctx, func() (*queuev1.ReportExportResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, reportTimeout)
		defer cancel()
		return e.opts.Queue.ReportExport(ctx, req)
	}, backoff.WithMaxElapsedTime(reportFor))
}

// reason says what a person can act on: the workspace that cannot be read, or
// which endpoint did not take it.
func (e *Exporter) reason(err error) string {
	var unread *workspaceError
	if errors.As(err, &unread) {
		return cut(unread.Error())
	}
	return cut(fmt.Sprintf("object storage at %s: %v", host(e.opts.Endpoint), err))
}

// incomplete says what an export lacks; empty when it lacks nothing.
func incomplete(lacks *missing) string {
	switch n := lacks.count(); n {
	case 0:
		return ""
	case 1:
		return "1 path could not be exported: " + lacks.list() + "."
	default:
		return fmt.Sprintf("%d paths could not be exported: %s.", n, lacks.list())
	}
}

// cut bounds a reason.
func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxReason)], "") }

func host(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return "its endpoint"
}
