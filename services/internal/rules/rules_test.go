package rules_test

import (
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/rules"
)

const id = "0190b6a4-0000-7000-8000-000000000000"

func startRun(change func(*executorv1.StartRunRequest)) *executorv1.StartRunRequest {
	r := &executorv1.StartRunRequest{
		RunId: id, SessionId: id, Prompt: "p", NextRunSeq: 1, LeaseTtl: durationpb.New(time.Minute), ChannelUrl: "http://m", RunToken: "t",
		Config: &backendv1.TaskConfig{
			McpConfig: map[string]bool{"a": true}, MaxTurns: proto.Int32(3), Timeout: durationpb.New(time.Hour),
			ContainerMode: backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT.Enum(),
		},
		Limits: &executorv1.RunLimits{},
	}
	change(r)
	return r
}

// TestAgreement: what is plainly valid, protovalidate finds valid too, and what
// it finds invalid is never plainly valid.
func TestAgreement(t *testing.T) {
	for name, change := range map[string]func(*executorv1.StartRunRequest){
		"nothing":          func(*executorv1.StartRunRequest) {},
		"no config":        func(r *executorv1.StartRunRequest) { r.Config = nil },
		"no run id":        func(r *executorv1.StartRunRequest) { r.RunId = "" },
		"run id in braces": func(r *executorv1.StartRunRequest) { r.RunId = "{" + id + "}" },
		"run id of others": func(r *executorv1.StartRunRequest) { r.RunId = strings.Repeat("x", 36) },
		"no prompt":        func(r *executorv1.StartRunRequest) { r.Prompt = "" },
		"long prompt":      func(r *executorv1.StartRunRequest) { r.Prompt = strings.Repeat("ä", 1<<19) + "x" },
		"no number":        func(r *executorv1.StartRunRequest) { r.NextRunSeq = 0 },
		"no lease":         func(r *executorv1.StartRunRequest) { r.LeaseTtl = nil },
		"no token":         func(r *executorv1.StartRunRequest) { r.RunToken = "" },
		"turns":            func(r *executorv1.StartRunRequest) { r.Config.MaxTurns = proto.Int32(-1) },
		"no time":          func(r *executorv1.StartRunRequest) { r.Config.Timeout = durationpb.New(0) },
		"long model":       func(r *executorv1.StartRunRequest) { r.Config.Model = proto.String(strings.Repeat("m", 201)) },
		"long key":         func(r *executorv1.StartRunRequest) { r.Config.McpConfig[strings.Repeat("k", 201)] = true },
		"unknown mode":     func(r *executorv1.StartRunRequest) { r.Config.ContainerMode = backendv1.ContainerMode(99).Enum() },
		"many files":       func(r *executorv1.StartRunRequest) { r.Config.InputFiles = make([]*backendv1.InputFile, 101) },
		"a bad file":       func(r *executorv1.StartRunRequest) { r.Config.InputFiles = []*backendv1.InputFile{{Size: -1}} },
	} {
		t.Run(name, func(t *testing.T) {
			request := startRun(change)
			want := protovalidate.Validate(request) == nil
			require.Equal(t, want, rules.PlainlyValid(request))
			require.Equal(t, want, rules.Validator{}.Validate(request) == nil)
		})
	}
}

// TestOtherRules: rules that are not simple are left to protovalidate.
func TestOtherRules(t *testing.T) {
	request := &backendv1.EnqueueTaskRequest{Prompt: "p"}
	require.False(t, rules.PlainlyValid(request))
	require.NoError(t, rules.Validator{}.Validate(request))
	require.Error(t, rules.Validator{}.Validate(&backendv1.EnqueueTaskRequest{}))
}
