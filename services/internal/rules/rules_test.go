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
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rules"
)

const id = "0190b6a4-0000-7000-8000-000000000000"

func startRun(change func(*executorv1.StartRunRequest)) *executorv1.StartRunRequest {
	r := &executorv1.StartRunRequest{
		RunId: id, SessionId: id, Prompt: "p", NextRunSeq: 1, LeaseTtl: durationpb.New(time.Minute), ChannelUrl: "http://m", ChannelToken: "t", Attempt: 1,
		Config: &backendv1.TaskConfig{
			McpConfig: map[string]bool{"a": true}, MaxTurns: proto.Int32(3), Timeout: durationpb.New(time.Hour),
			ContainerMode: backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT.Enum(),
		},
		Limits: &executorv1.RunLimits{},
	}
	change(r)
	return r
}

var fetched = &backendv1.InputFile{Source: &backendv1.InputFile_Url{Url: "https://example.com/x"}}

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
		"no token":         func(r *executorv1.StartRunRequest) { r.ChannelToken = "" },
		"turns":            func(r *executorv1.StartRunRequest) { r.Config.MaxTurns = proto.Int32(-1) },
		"no time":          func(r *executorv1.StartRunRequest) { r.Config.Timeout = durationpb.New(0) },
		"long model":       func(r *executorv1.StartRunRequest) { r.Config.Model = proto.String(strings.Repeat("m", 201)) },
		"long key":         func(r *executorv1.StartRunRequest) { r.Config.McpConfig[strings.Repeat("k", 201)] = true },
		"unknown mode":     func(r *executorv1.StartRunRequest) { r.Config.ContainerMode = backendv1.ContainerMode(99).Enum() },
		"many files":       func(r *executorv1.StartRunRequest) { r.Config.InputFiles = make([]*backendv1.InputFile, 101) },
		"a file":           func(r *executorv1.StartRunRequest) { r.Config.InputFiles = []*backendv1.InputFile{fetched} },
		"a bad file": func(r *executorv1.StartRunRequest) {
			r.Config.InputFiles = []*backendv1.InputFile{{Source: fetched.GetSource(), Size: -1}}
		},
		"a file from nowhere": func(r *executorv1.StartRunRequest) { r.Config.InputFiles = []*backendv1.InputFile{{Name: "x"}} },
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

// TestMessageRules: rules about messages as a whole are checked without
// protovalidate, and in agreement with it.
func TestMessageRules(t *testing.T) {
	loaded, err := config.Load(&configv1.ManagerConfig{}, "manager", config.Sources{Environ: []string{
		"BACKEND_URL=http://b", "CALLBACK_BASE_URL=http://localhost", "INTERNAL_API_TOKEN=t", "WORKSPACE_ROOT=/w",
		"S3_ENDPOINT=http://s3", "S3_ACCESS_KEY=a", "S3_SECRET_KEY=s", "S3_BUCKET=poco",
	}})
	require.NoError(t, err)
	require.True(t, rules.PlainlyValid(loaded.Msg))
	for name, change := range map[string]func(*configv1.ManagerConfig){
		"docker without an image": func(c *configv1.ManagerConfig) { c.Runtime.Runtime = "docker" },
		"docker on loopback": func(c *configv1.ManagerConfig) {
			c.Runtime.Runtime, c.Runtime.ExecutorImage = "docker", "i"
		},
		"docker": func(c *configv1.ManagerConfig) {
			c.Runtime.Runtime, c.Runtime.ExecutorImage, c.Server.CallbackBaseUrl = "docker", "i", "http://m:8001"
		},
		"no host":          func(c *configv1.ManagerConfig) { c.Server.Hosts = nil },
		"no address":       func(c *configv1.ManagerConfig) { c.Runtime.ExecutorPublishAddress = "localhost" },
		"an IPv6 address":  func(c *configv1.ManagerConfig) { c.Runtime.ExecutorPublishAddress = "::1" },
		"negative CPUs":    func(c *configv1.ManagerConfig) { c.Runtime.CpuLimit = -0.5 },
		"the whole disk":   func(c *configv1.ManagerConfig) { c.Workspace.Root = "/" },
		"rarely looking":   func(c *configv1.ManagerConfig) { c.Queue.PullInterval = durationpb.New(time.Hour) },
		"endless runs":     func(c *configv1.ManagerConfig) { c.Run.Timeout = nil },
		"no settings":      func(c *configv1.ManagerConfig) { proto.Reset(c) },
		"a port too large": func(c *configv1.ManagerConfig) { c.Server.Port = 1 << 16 },
	} {
		t.Run(name, func(t *testing.T) {
			msg := proto.CloneOf(loaded.Msg)
			change(msg)
			require.Equal(t, protovalidate.Validate(msg) == nil, rules.PlainlyValid(msg))
		})
	}
}
