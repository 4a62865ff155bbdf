package stack

import (
	"context"
	"fmt"
	"time"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/dockerengine"
)

// engineTimeout bounds the questions asked of the Docker engine.
const engineTimeout = 5 * time.Second

// executorHome says where executors will run, and how they reach the manager.
type executorHome struct {
	// docker: in containers; else as processes of this machine.
	docker bool
	// gateway is the address the manager must listen on for containers; empty
	// when loopback is enough.
	gateway string
	// why tells how it was chosen.
	why string
}

// findExecutorHome settles what EXECUTOR_RUNTIME leaves open in the same way as
// the manager, which does it again: up has to know before it starts one.
func findExecutorHome(ctx context.Context, cfg *configv1.RuntimeConfig) (executorHome, error) {
	if cfg.GetRuntime() == "process" {
		return executorHome{why: "as asked"}, nil
	}
	home, err := askEngine(ctx, cfg.GetExecutorImage())
	if err == nil {
		return home, nil
	}
	if cfg.GetRuntime() == "docker" {
		return executorHome{}, fmt.Errorf("the docker runtime cannot be used: %w", err)
	}
	return executorHome{why: "docker is not usable: " + err.Error()}, nil
}

func askEngine(ctx context.Context, image string) (home executorHome, err error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	engine, err := dockerengine.New()
	if err != nil {
		return home, err
	}
	defer engine.Close()
	if err := dockerengine.Check(ctx, engine, image); err != nil {
		return home, err
	}
	address, err := dockerengine.BridgeAddress(ctx, engine)
	if err != nil {
		return home, err
	}
	home = executorHome{docker: true, why: "the engine answers and has the image " + image}
	if address.IsValid() {
		home.gateway = address.String()
	}
	return home, nil
}
