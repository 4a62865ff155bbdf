package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/poco-ai/poco/services/internal/retry"
)

// The back-off between questions to an executor that does not answer yet.
const (
	healthFirstDelay = 5 * time.Millisecond
	healthMaxDelay   = 200 * time.Millisecond
	// healthTimeout bounds one question: a proxy of the engine may accept a
	// connection and never pass it on.
	healthTimeout = 5 * time.Second
)

// errGone ends WaitHealthy when the executor ended first.
var errGone = errors.New("executor ended before it answered")

// IsGone tells whether WaitHealthy ended because gone was closed.
func IsGone(err error) bool { return errors.Is(err, errGone) }

// AwaitReady calls spec.Launched while it waits as WaitHealthy does, and returns
// when both are done.
func AwaitReady(ctx context.Context, spec Spec, addr string, gone <-chan struct{}) error {
	var launched sync.WaitGroup
	defer launched.Wait()
	if spec.Launched != nil {
		launched.Go(spec.Launched)
	}
	return WaitHealthy(ctx, addr, gone)
}

// WaitHealthy asks GET addr/healthz until it answers 200. It ends early, with
// an error that IsGone knows, when gone is closed. When ctx ends the error
// wraps its cause and tells what was wrong last.
func WaitHealthy(ctx context.Context, addr string, gone <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-gone:
			cancel(errGone)
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watching }()

	// A connection of its own each time: what an engine's proxy accepted before
	// the executor listened is of no use afterwards.
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil, DialContext: (&net.Dialer{}).DialContext},
		Timeout:   healthTimeout,
	}
	delays := retry.BackOff(healthFirstDelay, healthMaxDelay)
	var last error
	for {
		err := askHealth(ctx, client, addr+"/healthz")
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if !retry.Pause(ctx, delays.NextBackOff()) {
			if cause := context.Cause(ctx); last != nil && !errors.Is(cause, errGone) {
				return fmt.Errorf("%w (last answer: %v)", cause, last) //nolint:errorlint // only the cause is for programs
			}
			return context.Cause(ctx)
		}
	}
}

func askHealth(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 4096)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health answered %s", resp.Status)
	}
	return nil
}
