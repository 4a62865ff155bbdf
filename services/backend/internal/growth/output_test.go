package growth_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
)

// errSeen ends a watch.
var errSeen = errors.New("all seen")

// tableBytes is what all tables take, with their indexes.
func tableBytes(t *testing.T, b *backendtest.Backend) (n int64) {
	t.Helper()
	require.NoError(t, b.Pool.QueryRow(t.Context(), `SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
		JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = 'public' AND c.relkind = 'r'`).Scan(&n))
	return n
}

// A tool's output takes its own size in the database, and is read where it was
// read when it was stored three times.
func TestToolOutputIsStoredOnce(t *testing.T) {
	const size = 256 << 10
	random := make([]byte, size/2)
	_, err := rand.Read(random)
	require.NoError(t, err)
	output := hex.EncodeToString(random)
	verbatim, err := json.Marshal(map[string]any{"content": output, "tool_use_result": map[string]string{"stdout": output}})
	require.NoError(t, err)

	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetSessionId()
	before := tableBytes(t, b)
	answer := backendtest.Message(2, &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolResult{ToolResult: &backendv1.ToolResultBlock{ToolUseId: "t1", Content: output}}})
	answer.GetPayload().GetMessageAdded().VerbatimJson = string(verbatim)
	b.Append(t, c, backendtest.Message(1, &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolUse{ToolUse: &backendv1.ToolUseBlock{Id: "t1", Name: "Bash"}}}), answer)
	require.Less(t, tableBytes(t, b)-before, int64(size+size/2))

	tools, err := b.Sessions.ListToolExecutions(t.Context(), &backendv1.ListToolExecutionsRequest{SessionId: id})
	require.NoError(t, err)
	require.Equal(t, output, tools.GetToolExecutions()[0].GetOutput().GetFields()["content"].GetStringValue())
	messages, err := b.Sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{SessionId: id, IncludeVerbatim: true, PageSize: 1000})
	require.NoError(t, err)
	for messages.GetNextPageToken() != "" { // the answer is a page of its own
		messages, err = b.Sessions.ListMessages(t.Context(), &backendv1.ListMessagesRequest{
			SessionId: id, IncludeVerbatim: true, PageSize: 1000, PageToken: messages.GetNextPageToken(),
		})
		require.NoError(t, err)
	}
	last := messages.GetMessages()[len(messages.GetMessages())-1]
	require.Equal(t, sha256.Sum256(verbatim), sha256.Sum256([]byte(last.GetVerbatimJson())))
	require.Equal(t, sha256.Sum256([]byte(output)), sha256.Sum256([]byte(last.GetBlocks()[0].GetToolResult().GetContent())))
}
