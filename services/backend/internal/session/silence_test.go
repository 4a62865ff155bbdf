package session_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// TestNoStreamIsSilent watches what nothing happens to through an nginx that
// ends a silent stream, for longer than it waits: as many heartbeats as take
// three times that.
func TestNoStreamIsSilent(t *testing.T) {
	const silence = 2 * time.Second
	b := backendtest.New(t)
	b.Queue.Heartbeat, b.Sessions.Heartbeat = silence/20, silence/20
	idle := b.Start(t, "worker").GetRun().GetSessionId()
	_, port, err := net.SplitHostPort(b.Serve(t))
	require.NoError(t, err)
	nginx := testkit.Nginx(t, "http2", "location / { grpc_pass grpc://127.0.0.1:"+port+"; grpc_read_timeout "+silence.String()+"; }")
	conn, err := grpc.NewClient(strings.TrimPrefix(nginx, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	queue, sessions := queuev1.NewRunQueueServiceClient(conn), backendv1.NewSessionServiceClient(conn)
	claims, err := queue.WatchQueue(ctx, &queuev1.WatchQueueRequest{WorkerId: "worker"})
	require.NoError(t, err)
	commands, err := queue.WatchRunCommands(ctx, &queuev1.WatchRunCommandsRequest{WorkerId: "worker"})
	require.NoError(t, err)
	session, err := sessions.WatchSession(ctx, &backendv1.WatchSessionRequest{SessionId: idle})
	require.NoError(t, err)
	list, err := sessions.WatchSessions(ctx, &backendv1.WatchSessionsRequest{})
	require.NoError(t, err)
	for range 60 {
		for name, receive := range map[string]func() error{
			"WatchQueue":       func() error { _, err := claims.Recv(); return err },
			"WatchRunCommands": func() error { _, err := commands.Recv(); return err },
			"WatchSession":     func() error { _, err := session.Recv(); return err },
			"WatchSessions":    func() error { _, err := list.Recv(); return err },
		} {
			require.NoError(t, receive(), name)
		}
	}
}
