package agenttest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// notes is an MCP server with one tool, remember.
type notes struct {
	url string

	mu   sync.Mutex
	what string
}

func newNotes(t *testing.T) *notes {
	t.Helper()
	n := &notes{}
	server := httptest.NewServer(n)
	t.Cleanup(server.Close)
	n.url = server.URL + "/mcp"
	return n
}

func (n *notes) remembered() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.what
}

// ServeHTTP speaks MCP's streamable HTTP, with plain answers.
func (n *notes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			ProtocolVersion string `json:"protocolVersion"`
			Arguments       struct {
				What string `json:"what"`
			} `json:"arguments"`
		} `json:"params"`
	}
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&request) != nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if request.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	var result any = map[string]any{}
	switch request.Method {
	case "initialize":
		result = map[string]any{
			"protocolVersion": request.Params.ProtocolVersion, "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]any{"name": "notes", "version": "1"},
		}
	case "tools/list":
		result = map[string]any{"tools": []any{map[string]any{
			"name": "remember", "description": "Remembers something",
			"inputSchema": map[string]any{"type": "object", "properties": map[string]any{"what": map[string]any{"type": "string"}}, "required": []string{"what"}},
		}}}
	case "tools/call":
		n.mu.Lock()
		n.what = request.Params.Arguments.What
		n.mu.Unlock()
		result = map[string]any{"content": []any{map[string]any{"type": "text", "text": "kept: " + request.Params.Arguments.What}}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": request.ID, "result": result}) // The agent is gone, else.
}
