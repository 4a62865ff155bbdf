package store_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// Whatever is left out when an event is stored is there again, to the byte, when
// it is read.
func TestPayloadsAreReadAsTheyWere(t *testing.T) {
	long := strings.Repeat("<a> & \"b\"\n\t\\u2028 \u2028 ü 😀 \x01 ", 200)
	input, err := structpb.NewStruct(map[string]any{"z": long + "z", "a": []any{map[string]any{"deep": long}, 1.5, nil}})
	require.NoError(t, err)
	plain, err := json.Marshal(map[string]any{"content": long, "again": long})
	require.NoError(t, err)
	var asJS strings.Builder
	encoder := json.NewEncoder(&asJS)
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(map[string]any{"content": long, "other": long + "z", "short": "x"}))
	result := &backendv1.ContentBlock{Kind: &backendv1.ContentBlock_ToolResult{ToolResult: &backendv1.ToolResultBlock{ToolUseId: "t", Content: long}}}
	for name, m := range map[string]*backendv1.MessageAdded{
		"a message":            {Blocks: []*backendv1.ContentBlock{result}, VerbatimJson: asJS.String()},
		"written by Go":        {Blocks: []*backendv1.ContentBlock{result}, VerbatimJson: string(plain)},
		"raw line separators":  {Blocks: []*backendv1.ContentBlock{result}, VerbatimJson: strings.ReplaceAll(asJS.String(), `\u2028`, "\u2028")},
		"a call":               {Blocks: []*backendv1.ContentBlock{{Kind: &backendv1.ContentBlock_ToolUse{ToolUse: &backendv1.ToolUseBlock{Id: "t", Input: input}}}}, VerbatimJson: asJS.String()},
		"twice the same":       {Blocks: []*backendv1.ContentBlock{result, result}, VerbatimJson: asJS.String()},
		"no blocks":            {VerbatimJson: asJS.String()},
		"not JSON":             {Blocks: []*backendv1.ContentBlock{result}, VerbatimJson: "garbage " + long},
		"looks like our marks": {Blocks: []*backendv1.ContentBlock{result}, VerbatimJson: asJS.String() + "\x000:0\x00"},
		"nothing":              {},
	} {
		t.Run(name, func(t *testing.T) {
			payload := &backendv1.EventPayload{Kind: &backendv1.EventPayload_MessageAdded{MessageAdded: m}}
			before := proto.CloneOf(payload)
			raw, size, err := store.EncodePayload(payload, new(store.Diffs))
			require.NoError(t, err)
			require.True(t, proto.Equal(before, payload), "the event itself stays as it is")
			require.Equal(t, proto.Size(payload), size)
			got, err := store.DecodePayload(raw)
			require.NoError(t, err)
			require.True(t, proto.Equal(before, got))
			if name == "a message" || name == "written by Go" || name == "a call" {
				require.Less(t, len(raw), size*2/3, "long texts are there once")
			}
		})
	}
}
