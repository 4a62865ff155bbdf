package stack

import (
	"context"
	"log/slog"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/servicemain"
)

// followed sets up a service's log as its own settings say, and has the live
// ones follow their files as long as the stack runs.
func followed[T servicemain.Settings](s *stack, cfg *config.Loaded[T]) (*slog.Logger, error) {
	logger, closeLog, err := servicemain.Follow(cfg, s.opts.Log)
	if err != nil {
		return nil, err
	}
	// Added before the service is: closed after it.
	s.closers.Add(cfg.Service()+" log", func(context.Context) error { return closeLog() })
	return logger, nil
}
