package app

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// What a run's environment has is there for the agent, or said not to be.
func TestEnvironmentOfARun(t *testing.T) {
	m, dir := newManager(t), workspaceDir(t)
	req, _ := request(t, m, `read it [[bash:echo "$COLOR: $(cat inputs/notes/today.txt)"]]`)
	req.Environment = &executorv1.RunEnvironment{
		Variables: []*executorv1.EnvironmentVariable{{Name: "COLOR", Value: "blue", Source: &executorv1.Source{Scope: executorv1.Source_SCOPE_USER}}},
		Files:     []*executorv1.RunFile{{Path: "notes/today.txt", Content: []byte("buy milk")}},
		Skills:    []*executorv1.Skill{{Name: "cooking"}},
	}
	client, _ := start(t, dir)
	_, err := client.StartRun(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, completed, m.finished().GetStatus(), m.finished().GetMessage())
	var results, notices []string
	for _, e := range m.log() {
		for _, block := range e.GetMessageAdded().GetBlocks() {
			if result := block.GetToolResult(); result != nil {
				results = append(results, result.GetContent())
			}
		}
		if notice := e.GetNotice(); notice != nil {
			notices = append(notices, notice.GetCode())
		}
	}
	require.Equal(t, []string{"blue: buy milk"}, results)
	require.Equal(t, []string{"skills_not_applied"}, notices)
}

func TestAnEnvironmentThatCannotBe(t *testing.T) {
	m, dir := newManager(t), workspaceDir(t)
	req, _ := request(t, m, "hello")
	client, _ := start(t, dir)
	for name, environment := range map[string]*executorv1.RunEnvironment{
		"a server without a transport": {McpServers: []*executorv1.McpServerConfig{{Name: "notes"}}},
		"a server without a name":      {McpServers: []*executorv1.McpServerConfig{{Transport: &executorv1.McpServerConfig_Http{Http: &executorv1.McpHttp{Url: "http://a"}}}}},
		"a variable of no name":        {Variables: []*executorv1.EnvironmentVariable{{Name: "A=B"}}},
	} {
		req.Environment = environment
		_, err := client.StartRun(t.Context(), req)
		require.Equal(t, codes.InvalidArgument, status.Code(err), name)
	}
}
