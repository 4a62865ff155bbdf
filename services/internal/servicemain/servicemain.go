// Package servicemain is the main of a service's own program.
package servicemain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"google.golang.org/grpc/grpclog"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/lifecycle"
	"github.com/poco-ai/poco/services/internal/logging"
)

// healthcheckCommand asks whether a running service is ready.
const healthcheckCommand = "healthcheck"

// Exit codes of a service's program.
const (
	exitFailed  = 1
	exitRefused = 2 // the settings are not usable; what is wrong is on stderr
)

// Settings is a service's config message.
type Settings interface {
	proto.Message
	GetLogging() *configv1.LoggingConfig
}

// Program is a service's own program.
type Program[T Settings] struct {
	// Service is its name, for example "backend".
	Service string
	Load    func(config.Sources) (*config.Loaded[T], error)
	// Run runs it until ctx is done.
	Run func(context.Context, *config.Loaded[T], *slog.Logger) error
	// Listens is where the service listens by its settings, for "healthcheck"; nil
	// when it is not asked.
	Listens func(T) (host string, port int32)
}

// Main loads the service's settings from the environment, runs it until a signal
// ends it (lifecycle.SignalContext), and exits with 0, 1 (the service failed) or 2
// (its settings or its arguments are refused). With the argument "healthcheck" it
// asks the service that runs with the same settings whether it is ready, and exits
// with 0 or 1.
func (p Program[T]) Main() {
	check := len(os.Args) == 2 && os.Args[1] == healthcheckCommand && p.Listens != nil
	if len(os.Args) > 1 && !check {
		refuse(p.usage())
	}
	cfg, err := p.Load(config.OSSources())
	if err != nil {
		refuse(err)
	}
	if check {
		host, port := p.Listens(cfg.Msg)
		if err := healthcheck(context.Background(), host, port); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitFailed)
		}
		return
	}
	logger, closeLog, err := Follow(cfg, os.Stderr)
	if err != nil {
		refuse(err)
	}
	// What libraries log takes the same way, past the same redaction.
	slog.SetDefault(logger)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, slog.NewLogLogger(logger.Handler(), slog.LevelWarn).Writer()))
	ctx, stop := lifecycle.SignalContext(context.Background())
	err = p.Run(ctx, cfg, logger)
	stop()
	if err != nil {
		logger.Error(p.Service+" stopped", logging.KeyError, err)
	}
	if closeErr := closeLog(); closeErr != nil {
		fmt.Fprintln(os.Stderr, closeErr)
	}
	if err != nil {
		os.Exit(exitFailed)
	}
}

func (p Program[T]) usage() error {
	text := "poco-" + p.Service + " takes its settings from the environment and a .env file, and no arguments"
	if p.Listens != nil {
		text += ` but "` + healthcheckCommand + `", which asks whether it is ready`
	}
	return errors.New(text)
}

func refuse(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(exitRefused)
}
