package queuetest

import (
	"context"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// stream hands out what next returns; next returns nil to wait for a change.
type stream[T any] struct {
	grpc.ClientStream
	ctx    context.Context
	q      *Queue
	method string
	next   func() *T
}

// Recv implements grpc.ServerStreamingClient.
func (s *stream[T]) Recv() (*T, error) {
	for {
		s.q.mu.Lock()
		err, changed := s.q.fail[s.method], s.q.changed
		var m *T
		if err == nil {
			m = s.next()
		}
		s.q.mu.Unlock()
		if err != nil || m != nil {
			return m, err
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return nil, status.FromContextError(s.ctx.Err()).Err()
		}
	}
}

// WatchQueue implements the queue.
func (q *Queue) WatchQueue(ctx context.Context, req *queuev1.WatchQueueRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[queuev1.WatchQueueResponse], error) {
	if err := protovalidate.Validate(req); err != nil {
		return nil, invalid(err.Error())
	}
	seen := -1
	return &stream[queuev1.WatchQueueResponse]{ctx: ctx, q: q, method: "WatchQueue", next: func() *queuev1.WatchQueueResponse {
		if seen == q.hints {
			return nil
		}
		seen = q.hints
		return &queuev1.WatchQueueResponse{}
	}}, nil
}

// WatchRunCommands implements the queue.
func (q *Queue) WatchRunCommands(ctx context.Context, req *queuev1.WatchRunCommandsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[queuev1.WatchRunCommandsResponse], error) {
	if err := protovalidate.Validate(req); err != nil {
		return nil, invalid(err.Error())
	}
	begun, sent := false, make(map[string]bool)
	return &stream[queuev1.WatchRunCommandsResponse]{ctx: ctx, q: q, method: "WatchRunCommands", next: func() *queuev1.WatchRunCommandsResponse {
		if !begun {
			begun = true
			return &queuev1.WatchRunCommandsResponse{}
		}
		for _, c := range q.commands {
			if c.isFor(req.GetWorkerId()) && !sent[c.GetId()] {
				sent[c.GetId()] = true
				return &queuev1.WatchRunCommandsResponse{Command: c.RunCommand}
			}
		}
		return nil
	}}, nil
}
