package servicemain

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/logging"
)

// Follow opens a service's log, and has the live settings follow their files
// until it is closed: the log's level and the secrets that are kept out of it
// among them. The error is a *config.Problems when the log's folder is not
// usable.
func Follow[T Settings](cfg *config.Loaded[T], stderr io.Writer) (logger *slog.Logger, closeLog func() error, err error) {
	log, err := logging.New(cfg.Msg.GetLogging(), cfg.Service(), stderr)
	if err != nil {
		return nil, nil, &config.Problems{Service: cfg.Service(), List: []config.Problem{{
			Env: "LOG_DIR", Message: "the log cannot be written there: " + err.Error(),
			Fix: "make the folder writable, name another one, or turn LOG_TO_FILE off",
		}}}
	}
	apply := func(msg T) {
		log.Level.Set(logging.LevelOf(msg.GetLogging()))
		log.Hide(cfg.SecretValues())
	}
	cfg.OnChange(apply)
	apply(cfg.Current())
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { cfg.Watch(ctx, log.Logger) })
	return log.Logger, func() error {
		stop()
		watching.Wait()
		return log.Close()
	}, nil
}
