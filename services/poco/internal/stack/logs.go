package stack

import (
	"context"
	"log/slog"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/logging"
)

// logger sets up a service's log as its own settings say.
func (s *stack) logger(cfg *configv1.LoggingConfig, service string) (*slog.Logger, error) {
	logger, err := logging.New(cfg, service, s.opts.Log)
	if err != nil {
		return nil, err
	}
	// Added before the service is: closed after it.
	s.closers.Add(service+" log", func(context.Context) error { return logger.Close() })
	return logger.Logger, nil
}
