package config

import (
	"context"
	"log/slog"
	"time"
)

// lookInterval is how often Watch looks at the files. Looking costs microseconds;
// notifications cross no network file system and not every container's mount.
const lookInterval = time.Second

// Watch reloads the files when they change, until ctx ends, and logs what
// happened by the names of variables.
func (l *Loaded[T]) Watch(ctx context.Context, logger *slog.Logger) {
	l.logger.Store(logger)
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		l.Refresh() // at once, too: something may have changed since the start
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
