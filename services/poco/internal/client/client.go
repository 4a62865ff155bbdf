// Package client calls a backend, directly or through the frontend's proxy.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/gen/go/poco/backend/v1/backendv1connect"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/retry"
)

const (
	// dialTimeout bounds one attempt to connect.
	dialTimeout = 10 * time.Second
	// silence is how long a watch may bring nothing. The backend sends a
	// heartbeat every 15 seconds: three missing ones mean a dead connection.
	silence = 45 * time.Second
	// giveUp is how long a watch is tried again without success.
	giveUp = 2 * time.Minute
	// reconnectFirst and reconnectMost bound the pause between attempts.
	reconnectFirst = 100 * time.Millisecond
	reconnectMost  = 5 * time.Second
)

// ErrConnectionLost means that the backend could not be reached (again).
var ErrConnectionLost = errors.New("connection to the backend lost")

// Backend holds the clients of the backend's public services.
type Backend struct {
	URL string
	// Hint says what to do when the backend refuses the token, or wants one.
	Hint     string
	Tasks    backendv1connect.TaskServiceClient
	Sessions backendv1connect.SessionServiceClient
	Runs     backendv1connect.RunServiceClient
	Inputs   backendv1connect.UserInputServiceClient
}

// Access is how a backend is reached.
type Access struct {
	// Token is shown with each call; an unset one is not.
	Token config.Secret
	// Dial replaces the dialer's own DialContext; nil does not.
	Dial func(ctx context.Context, dialer *net.Dialer, network, addr string) (net.Conn, error)
	// Direct keeps a proxy of the environment from seeing the token.
	Direct bool
	// Hint is the Backend's.
	Hint string
}

// New returns clients of the backend at baseURL; nothing is sent yet.
func New(baseURL string, access Access) *Backend {
	baseURL = strings.TrimRight(baseURL, "/")
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dialer.DialContext
	if access.Direct {
		transport.Proxy = nil
	}
	if access.Dial != nil {
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return access.Dial(ctx, dialer, network, addr)
		}
	}
	rpc := connect.NewClient(connecthttp.NewTransport(&http.Client{
		Transport: showing{transport, access.Token},
		// The token is for this backend, and for no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, baseURL))
	return &Backend{
		URL: baseURL, Hint: access.Hint,
		Tasks:    backendv1connect.NewTaskServiceClient(rpc),
		Sessions: backendv1connect.NewSessionServiceClient(rpc),
		Runs:     backendv1connect.NewRunServiceClient(rpc),
		Inputs:   backendv1connect.NewUserInputServiceClient(rpc),
	}
}

// showing shows a token with each request, and tells who else than a backend
// answers.
type showing struct {
	next  *http.Transport
	token config.Secret
}

// RoundTrip implements http.RoundTripper.
func (s showing) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.token.IsSet() {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	}
	resp, err := s.next.RoundTrip(r)
	if err != nil {
		return nil, s.explain(r, err)
	}
	if err := s.check(r, resp); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// Watch is a session being followed.
type Watch struct {
	SessionID string
	// AfterSeq is the last event seen; it moves on with the events.
	AfterSeq int64
	// StopWhenIdle ends the watch once nothing is going on.
	StopWhenIdle bool
	// Lost is told when the connection broke and is tried again.
	Lost func(err error)
}

// Follow hands every message of the session to handle, connecting again from
// the last event whenever the connection breaks. It returns nil when the
// server ends the watch, ctx's error, handle's error, ErrConnectionLost after
// two minutes without the backend, or the backend's own refusal.
func (b *Backend) Follow(ctx context.Context, watch *Watch, handle func(*backendv1.WatchSessionResponse) error) error {
	wait := retry.BackOff(reconnectFirst, reconnectMost)
	alive := time.Now()
	told := false
	for {
		var stop *handlerError
		err := b.watchOnce(ctx, watch, func(message *backendv1.WatchSessionResponse) error {
			alive, told = time.Now(), false
			wait.Reset()
			if err := handle(message); err != nil {
				return &handlerError{err}
			}
			return nil
		})
		switch {
		case err == nil:
			return nil
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return ctx.Err()
		case !IsUnavailable(err):
			return err
		case time.Since(alive) > giveUp:
			return fmt.Errorf("%w: %s", ErrConnectionLost, Message(err))
		}
		if !told && watch.Lost != nil {
			watch.Lost(err)
			told = true
		}
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return ctx.Err()
		}
	}
}

type handlerError struct{ err error }

func (e *handlerError) Error() string { return e.err.Error() }

// errSilent is the cause with which a watch that brings nothing is ended.
var errSilent = errors.New("no sign of life from the backend")

func (b *Backend) watchOnce(ctx context.Context, watch *Watch, handle func(*backendv1.WatchSessionResponse) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer timer.Stop()
	stream, err := b.Sessions.WatchSession(ctx, &backendv1.WatchSessionRequest{
		SessionId: watch.SessionID, AfterSeq: watch.AfterSeq, StopWhenIdle: watch.StopWhenIdle,
	})
	if err != nil {
		return silent(ctx, err)
	}
	defer func() { _ = stream.Close() }() // abandoned: its error is known already
	for {
		message, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return silent(ctx, err)
		}
		timer.Reset(silence)
		if err := handle(message); err != nil {
			return err
		}
		if seq := message.GetEvent().GetSeq(); seq > watch.AfterSeq {
			watch.AfterSeq = seq
		}
	}
}

func silent(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return connect.NewError(connect.CodeUnavailable, errSilent.Error())
	}
	return err
}

// IsUnavailable tells whether err means that the backend could not be reached,
// as opposed to an answer of the backend.
func IsUnavailable(err error) bool {
	var stranger *StrangerError
	if errors.As(err, &stranger) {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeUnknown:
		return true
	case connect.CodeInternal:
		// Cut off in the middle of a message.
		return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
	default:
		return errors.Is(err, ErrConnectionLost)
	}
}

// IsUnauthenticated tells whether err is the backend's refusal of the token, or
// of a call without one.
func IsUnauthenticated(err error) bool { return connect.CodeOf(err) == connect.CodeUnauthenticated }

// Message is what an error says, without the names of protocols.
func Message(err error) string {
	var stranger *StrangerError
	if errors.As(err, &stranger) {
		return stranger.Error()
	}
	var rpc *connect.Error
	if errors.As(err, &rpc) && rpc.Message() != "" {
		return rpc.Message()
	}
	return err.Error()
}
