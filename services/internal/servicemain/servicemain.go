// Package servicemain is the main of a service's own program.
package servicemain

import (
	"context"
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

// Main loads the service's settings from the environment, runs it until a signal
// ends it (lifecycle.SignalContext), and exits with 0, 1 (the service failed) or 2
// (its settings are refused).
func Main[T Settings](
	service string,
	load func(config.Sources) (*config.Loaded[T], error),
	run func(context.Context, *config.Loaded[T], *slog.Logger) error,
) {
	cfg, err := load(config.OSSources())
	if err != nil {
		refuse(err)
	}
	logger, closeLog, err := Follow(cfg, os.Stderr)
	if err != nil {
		refuse(err)
	}
	// What libraries log takes the same way, past the same redaction.
	slog.SetDefault(logger)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, slog.NewLogLogger(logger.Handler(), slog.LevelWarn).Writer()))
	ctx, stop := lifecycle.SignalContext(context.Background())
	err = run(ctx, cfg, logger)
	stop()
	if err != nil {
		logger.Error(service+" stopped", logging.KeyError, err)
	}
	if closeErr := closeLog(); closeErr != nil {
		fmt.Fprintln(os.Stderr, closeErr)
	}
	if err != nil {
		os.Exit(exitFailed)
	}
}

func refuse(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(exitRefused)
}
