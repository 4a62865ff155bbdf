package configview

import (
	"encoding/json"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// ServiceJSON is one service in the JSON output of a command.
type ServiceJSON struct {
	Service string `json:"service"`
	URL     string `json:"url,omitempty"`
	// Report is a poco.config.v1 message in canonical JSON.
	Report json.RawMessage `json:"report,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// CanonicalJSON is a message in protobuf's canonical JSON.
func CanonicalJSON(message proto.Message) (json.RawMessage, error) {
	return protojson.Marshal(message)
}

// WriteJSON writes a document with two blanks of indentation.
func WriteJSON(out io.Writer, document any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}
