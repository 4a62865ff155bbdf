package app_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/gen/go/poco/executor/v1/executorv1connect"
	managerv1 "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/grpcclient"
	"github.com/poco-ai/poco/services/internal/rpcserver"
)

// executorArgument makes this test program a scripted executor, so that the
// real process runtime has something to launch.
const executorArgument = "scripted-executor"

// What the scripted executor does with a run is in the prompt.
const (
	promptWork = "work" // asks the model, writes a file, completes
	promptWait = "wait" // completes when its channel was opened twice
)

// serveExecutor is the scripted executor's main.
func serveExecutor() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fd, err := strconv.Atoi(os.Getenv("EXECUTOR_LISTEN_FD"))
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		return err
	}
	server, err := rpcserver.New(rpcserver.Options{Service: "executor", Listeners: []net.Listener{listener}})
	if err != nil {
		return err
	}
	e := &scriptedExecutor{ctx: ctx}
	executorv1connect.RegisterExecutorServiceHandler(server.Connect(), e)
	if err := server.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	e.work.Wait()
	return server.Shutdown(context.Background())
}

type scriptedExecutor struct {
	executorv1connect.UnimplementedExecutorServiceHandler
	ctx  context.Context
	work sync.WaitGroup
	mu   sync.Mutex
	run  string
}

func (e *scriptedExecutor) StartRun(_ context.Context, req *executorv1.StartRunRequest) (*executorv1.StartRunResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.run == "" {
		e.run = req.GetRunId()
		e.work.Go(func() {
			if err := e.execute(req); err != nil {
				fmt.Fprintln(os.Stderr, "scripted executor:", err)
			}
		})
	}
	return &executorv1.StartRunResponse{}, nil
}

func (e *scriptedExecutor) GetStatus(context.Context, *executorv1.GetStatusRequest) (*executorv1.GetStatusResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &executorv1.GetStatusResponse{RunId: e.run, Idle: e.run == ""}, nil
}

func (e *scriptedExecutor) execute(req *executorv1.StartRunRequest) error {
	conn, err := grpcclient.Dial(req.GetChannelUrl(), config.NewSecret(req.GetChannelToken()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := managerv1.NewRunChannelServiceClient(conn)
	events := []*executorv1.RunEventPayload{
		{Kind: &executorv1.RunEventPayload_AgentStarted{AgentStarted: &backendv1.AgentStarted{AgentSessionId: req.GetRunId()}}},
		{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{Code: "begun", Text: req.GetPrompt()}}},
	}
	begun := len(events)
	finish := &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_RunFinished{RunFinished: &backendv1.RunFinished{Status: backendv1.RunStatus_RUN_STATUS_COMPLETED}}}
	if req.GetPrompt() == promptWork {
		answer, err := ask(e.ctx, req)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(os.Getenv("WORKSPACE_PATH"), "answer.txt"), answer, 0o644); err != nil {
			return err
		}
		events = append(events, finish)
	}
	for first := true; e.ctx.Err() == nil; first = false {
		if !first && req.GetPrompt() == promptWait && len(events) == begun {
			events = append(events, finish)
		}
		if e.channel(client, req.GetRunId(), events) {
			return nil
		}
	}
	return nil
}

// ask calls the model through the gateway.
func ask(ctx context.Context, req *executorv1.StartRunRequest) ([]byte, error) {
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, req.GetModelBaseUrl()+"/v1/messages", strings.NewReader("{}"))
	if err != nil {
		return nil, err
	}
	call.Header.Set("Authorization", "Bearer "+req.GetModelToken())
	resp, err := http.DefaultClient.Do(call)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// channel reports on one channel; true when all is acknowledged or revoked.
func (e *scriptedExecutor) channel(client managerv1.RunChannelServiceClient, runID string, events []*executorv1.RunEventPayload) bool {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	stream, err := client.Connect(ctx)
	if err != nil || stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Hello{Hello: &managerv1.Hello{RunId: runID}}}) != nil {
		return false
	}
	for {
		m, err := stream.Recv()
		switch {
		case err != nil:
			return false
		case m.GetRevoked() != nil:
			return true
		case m.GetWelcome() != nil:
			batch := &managerv1.EventBatch{}
			for i := int(m.GetWelcome().GetAckedRunSeq()); i < len(events); i++ {
				batch.Events = append(batch.Events, &executorv1.RunEvent{RunSeq: int64(i) + 1, Payload: events[i]})
			}
			if stream.Send(&managerv1.ConnectRequest{Kind: &managerv1.ConnectRequest_Events{Events: batch}}) != nil {
				return false
			}
		case m.GetAck().GetRunSeq() == int64(len(events)) && events[len(events)-1].GetRunFinished() != nil:
			return true
		}
	}
}
