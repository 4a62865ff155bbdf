package worker

import (
	"cmp"

	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// limits joins the operator's bounds with the task's own; the tighter wins and
// 0 means none.
func limits(cfg *configv1.RunConfig, task *backendv1.TaskConfig) *executorv1.RunLimits {
	l := &executorv1.RunLimits{
		IdleTimeout:       cfg.GetIdleTimeout(),
		BackgroundTimeout: cfg.GetBackgroundTimeout(),
		UserInputTimeout:  cfg.GetUserInputTimeout(),
		MaxCostUsd:        tighter(cfg.GetMaxCostUsd(), task.GetMaxCostUsd()),
		MaxTokens:         tighter(cfg.GetMaxTokens(), task.GetMaxTokens()),
		MaxEventBytes:     cfg.GetMaxEventSize(),
	}
	if timeout := tighter(cfg.GetTimeout().AsDuration(), task.GetTimeout().AsDuration()); timeout > 0 {
		l.Timeout = durationpb.New(timeout)
	}
	return l
}

func tighter[T cmp.Ordered](a, b T) T {
	var none T
	switch {
	case a == none:
		return b
	case b == none:
		return a
	default:
		return min(a, b)
	}
}
