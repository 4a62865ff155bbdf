package strictjson_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/strictjson"
)

// What is wrong with a request, and which field of it.
func TestMistakesAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		into proto.Message
		want string
	}{
		"a slip":              {`{"promt": "hi"}`, &backendv1.EnqueueTaskRequest{}, "promt: is not a field of the request: did you mean prompt?"},
		"two slips":           {`{"promt": "hi", "sesionId": "x"}`, &backendv1.EnqueueTaskRequest{}, "promt: is not a field of the request: did you mean prompt?; sesionId: is not a field of the request: did you mean sessionId?"},
		"case":                {`{"prompt": "hi", "sessionID": "x"}`, &backendv1.EnqueueTaskRequest{}, "sessionID: is not a field of the request: did you mean sessionId?"},
		"nothing like it":     {`{"prompt": "hi", "temperature": 1}`, &backendv1.EnqueueTaskRequest{}, "temperature: is not a field of the request"},
		"below":               {`{"prompt": "hi", "config": {"repoURL": "x"}}`, &backendv1.EnqueueTaskRequest{}, "config.repoURL: is not a field of config: did you mean config.repoUrl?"},
		"one level too high":  {`{"prompt": "hi", "repoUrl": "x"}`, &backendv1.EnqueueTaskRequest{}, "repoUrl: is not a field of the request: did you mean config.repoUrl?"},
		"in a list":           {`{"prompt": "hi", "config": {"inputFiles": [{"name": "a"}, {"anme": "b"}]}}`, &backendv1.EnqueueTaskRequest{}, "config.inputFiles[1].anme: is not a field of config.inputFiles[1]: did you mean config.inputFiles[1].name?"},
		"a value of a map":    {`{"config": {"mcpConfig": {"a b": "yes"}}}`, &backendv1.EnqueueTaskRequest{}, `config.mcpConfig["a b"]: expected true or false, found a string`},
		"a wrong type":        {`{"prompt": 7}`, &backendv1.EnqueueTaskRequest{}, "prompt: expected a string, found a number"},
		"no list":             {`{"statuses": "RUN_STATUS_QUEUED"}`, &backendv1.ListRunsRequest{}, "statuses: expected a list, found a string"},
		"no number":           {`{"pageSize": "ten"}`, &backendv1.ListRunsRequest{}, "pageSize: expected a whole number that fits int32, found a string"},
		"a number too large":  {`{"pageSize": 3000000000}`, &backendv1.ListRunsRequest{}, "pageSize: expected a whole number that fits int32, found a number"},
		"a value mistyped":    {`{"statuses": ["RUN_STATUS_QUEUD"]}`, &backendv1.ListRunsRequest{}, `statuses[0]: "RUN_STATUS_QUEUD" is not one of its values: did you mean RUN_STATUS_QUEUED?`},
		"a value shortened":   {`{"statuses": ["queued"]}`, &backendv1.ListRunsRequest{}, `statuses[0]: "queued" is not one of its values: did you mean RUN_STATUS_QUEUED?`},
		"a value of no kind":  {`{"config": {"containerMode": "eternal"}}`, &backendv1.EnqueueTaskRequest{}, `config.containerMode: "eternal" is not one of its values: CONTAINER_MODE_EPHEMERAL, CONTAINER_MODE_PERSISTENT`},
		"a time":              {`{"scheduledAt": "tomorrow"}`, &backendv1.EnqueueTaskRequest{}, "scheduledAt: "},
		"a duration":          {`{"config": {"timeout": 60}}`, &backendv1.EnqueueTaskRequest{}, "config.timeout: "},
		"no object":           {`{"config": "x"}`, &backendv1.EnqueueTaskRequest{}, "config: expected an object, found a string"},
		"no request":          {`[]`, &backendv1.EnqueueTaskRequest{}, "expected an object, found a list"},
		"no JSON":             {`{"prompt": `, &backendv1.EnqueueTaskRequest{}, "the body is not valid JSON: "},
		"two requests":        {`{} {}`, &backendv1.EnqueueTaskRequest{}, "the body has something behind its JSON object"},
		"a field twice":       {`{"prompt": "a", "prompt": "b"}`, &backendv1.EnqueueTaskRequest{}, "duplicate field"},
		"a field in two ways": {`{"sessionId": "a", "session_id": "b"}`, &backendv1.EnqueueTaskRequest{}, "duplicate field"},
		"a long name":         {`{"` + strings.Repeat("x", 5000) + `": 1}`, &backendv1.EnqueueTaskRequest{}, strings.Repeat("x", 100) + "…: is not a field"},
	} {
		t.Run(name, func(t *testing.T) {
			err := strictjson.NewCodec().UnmarshalRead(t.Context(), strings.NewReader(c.body), c.into)
			var told *rpcerror.Error
			require.ErrorAs(t, err, &told)
			require.Equal(t, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, told.Reason())
			require.Contains(t, rpcerror.Message(err), c.want)
			require.Less(t, len(rpcerror.Message(err)), 1000)
		})
	}
	require.ErrorContains(t, strictjson.NewCodec().UnmarshalRead(t.Context(), strings.NewReader(""), &backendv1.EnqueueTaskRequest{}), "empty")
}

func TestBothFormsOfANameAreTaken(t *testing.T) {
	var request backendv1.EnqueueTaskRequest
	body := `{"prompt": "hi", "client_request_id": "a", "config": {"repoUrl": null, "git_branch": "b", "timeout": "1.5s", "mcpConfig": {"x": true}}}`
	require.NoError(t, strictjson.NewCodec().UnmarshalRead(t.Context(), strings.NewReader(body), &request))
	require.Equal(t, "a", request.GetClientRequestId())
	require.Equal(t, "b", request.GetConfig().GetGitBranch())
}

// A newer client asks for what an older service does not know to be left out.
func TestUnknownFieldsCanBeIgnored(t *testing.T) {
	for value, ignored := range map[string]bool{strictjson.Ignore: true, "": false, "yes": false} {
		ctx := strictjson.WithHeader(t.Context(), http.Header{strictjson.Header: {value}})
		var request backendv1.EnqueueTaskRequest
		err := strictjson.NewCodec().UnmarshalRead(ctx, strings.NewReader(`{"prompt": "hi", "fromTheFuture": {"a": [1]}}`), &request)
		if !ignored {
			require.ErrorContains(t, err, "fromTheFuture", value)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "hi", request.GetPrompt())
	}
}
