package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/retry"
)

// makeBucket creates the bucket when it is missing and the account may, once the
// object store answers. Nothing waits for it: what needs the bucket says so.
func makeBucket(ctx context.Context, objects *objectstore.Store, logger *slog.Logger) {
	wait := retry.BackOff(time.Second, 30*time.Second)
	for told := false; ; told = true {
		err := objects.EnsureBucket(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case objectstore.Refused(err):
			logger.WarnContext(ctx, "the bucket cannot be made or looked at", logging.KeyError, err)
			return
		case !told:
			logger.WarnContext(ctx, "the object store does not answer", logging.KeyError, err)
		}
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return
		}
	}
}
