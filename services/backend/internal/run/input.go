package run

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Input is what a run was asked to do.
type Input struct {
	Prompt string
	Config *backendv1.TaskConfig
}

// Inputs reads what runs were asked to do, by their ids.
func Inputs(ctx context.Context, tx *store.Tx, runIDs ...string) (map[string]Input, error) {
	rows, err := tx.Q.RunInputList(ctx, runIDs)
	if err != nil {
		return nil, fmt.Errorf("read the inputs of runs: %w", err)
	}
	read := make(map[string]Input, len(rows))
	for _, row := range rows {
		cfg := new(backendv1.TaskConfig)
		if err := proto.Unmarshal(row.Config, cfg); err != nil {
			return nil, fmt.Errorf("decode the config of run %s: %w", row.RunID, err)
		}
		read[row.RunID] = Input{row.Prompt, cfg}
	}
	for _, id := range runIDs {
		if _, ok := read[id]; !ok {
			return nil, fmt.Errorf("run %s has no input", id)
		}
	}
	return read, nil
}
