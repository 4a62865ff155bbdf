package configservice

import (
	"context"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/time/rate"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// limits are how often callers may call. Without a token there is nothing to
// guess, but each call makes the service call others: all strangers together
// share one limit, which holds up nobody who shows a token. Who does has, with
// each call of ComparePeer, one guess at each secret: as fast as that allows, a
// random one of 64 bits, the weakest that is compared, lasts for ever.
type limits struct{ strangers, known *rate.Limiter }

func newLimits() limits {
	return limits{strangers: rate.NewLimiter(rate.Every(2*time.Second), 10), known: rate.NewLimiter(rate.Every(100*time.Millisecond), 100)}
}

// admit counts a call, or says when to try again.
func (s *service) admit(ctx context.Context) error {
	limiter := s.limits.strangers
	if info, ok := connect.CallInfoForServerContext(ctx); ok && s.isOpenTo(info) {
		limiter = s.limits.known
	}
	reservation := limiter.Reserve()
	wait := reservation.Delay()
	if wait <= 0 {
		return nil
	}
	reservation.Cancel()
	return rpcerror.ResourceExhausted(backendv1.ErrorReason_ERROR_REASON_TOO_MANY_CALLS, "called too often", wait)
}
