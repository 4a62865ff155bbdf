package e2e

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// silentS3 takes connections and never answers, so that an export is under way
// for as long as a test wants.
func silentS3(t *testing.T) *testkit.S3Server {
	t.Helper()
	listener := testkit.Listener(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func(conn net.Conn) {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			}(conn)
		}
	}()
	shared := testkit.S3(t)
	cfg := proto.CloneOf(shared.Config)
	cfg.Endpoint = "http://" + listener.Addr().String()
	return &testkit.S3Server{Config: cfg, AccessKey: shared.AccessKey, SecretKey: shared.SecretKey}
}

// A manager is gone for good in the middle of an export: the export ends, may be
// asked for again, and keeps nobody waiting.
func TestAnExportWhoseManagerIsGoneEnds(t *testing.T) {
	s := newStack(t, stackOptions{s3: silentS3(t), env: map[string]string{"WORKER_GONE_SECONDS": "3"}}).start()
	session, run := s.enqueue("Hello. [[bash]]", "")
	f := s.follow(session)
	requireCompleted(t, f, run)
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_PENDING, s.session(session).GetExport().GetStatus())
	s.manager.kill()

	stream, err := s.sessions.WatchSession(t.Context(), &backendv1.WatchSessionRequest{SessionId: session, StopWhenIdle: true})
	require.NoError(t, err)
	for err == nil {
		_, err = stream.Recv()
	}
	require.ErrorIs(t, err, io.EOF)
	export := s.session(session).GetExport()
	require.Equal(t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, export.GetStatus())
	require.Contains(t, export.GetReason(), "Export again when it is back")
	_, err = s.sessions.RetryExport(t.Context(), &backendv1.RetryExportRequest{SessionId: session})
	require.NoError(t, err)
	// The manager is back: the session goes on where it was.
	s.manager.start()
	_, second := s.enqueue("Hello again. [[bash]]", session)
	requireCompleted(t, f, second)
}
