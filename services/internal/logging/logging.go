// Package logging sets up structured logs that hold no secrets.
//
// What goes past it is what the runtime writes when a panic ends the process. A
// goroutine's stack shows addresses and numbers, never texts; the value of a
// panic is shown, and no code here panics with one that holds a secret.
package logging

import (
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Logger is a service's log.
type Logger struct {
	*slog.Logger
	// Level can be changed while running.
	Level   *slog.LevelVar
	secrets *secrets
	file    *dailyFile
}

// New sets up a service's log as configured, written to stderr and, when
// LOG_TO_FILE is on, to LOG_DIR/<service>.log as well. Each line is one call of
// Write. The error is that of the file.
func New(cfg *configv1.LoggingConfig, service string, stderr io.Writer) (*Logger, error) {
	l := &Logger{Level: new(slog.LevelVar), secrets: new(secrets)}
	l.Level.Set(LevelOf(cfg))
	out := stderr
	if cfg.GetToFile() {
		file, err := openDaily(filepath.Join(cfg.GetDir(), service+".log"), int(cfg.GetBackupCount()))
		if err != nil {
			return nil, err
		}
		l.file = file
		out = tee{stderr, file}
	}
	out = hiding{out, l.secrets}
	options := &slog.HandlerOptions{Level: l.Level, ReplaceAttr: redactor{l.secrets}.replace}
	var handler slog.Handler = slog.NewTextHandler(out, options)
	if cfg.GetFormat() == "json" {
		handler = slog.NewJSONHandler(out, options)
	}
	l.Logger = slog.New(withIDs{Handler: handler}).With(KeyService, service)
	return l, nil
}

// Hide makes sure that none of the texts appears in a line from now on: as it
// is, escaped, or in base64. Texts of less than 6 bytes are not looked for. It
// replaces what was hidden before.
func (l *Logger) Hide(texts []string) { l.secrets.set(texts) }

// LevelOf returns the level that a configuration asks for.
func LevelOf(cfg *configv1.LoggingConfig) slog.Level {
	switch strings.ToUpper(cfg.GetLevel()) {
	case "DEBUG":
		return slog.LevelDebug
	case "INFO":
		return slog.LevelInfo
	case "WARNING":
		return slog.LevelWarn
	case "ERROR":
		return slog.LevelError
	}
	if cfg.GetDebug() {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// Close closes the log file; stderr goes on.
func (l *Logger) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// tee writes to all, even when one of them fails: a full disk must not silence
// stderr.
type tee []io.Writer

// Write implements io.Writer.
func (t tee) Write(p []byte) (int, error) {
	var errs []error
	for _, w := range t {
		if _, err := w.Write(p); err != nil {
			errs = append(errs, err)
		}
	}
	return len(p), errors.Join(errs...)
}
