package configview

import (
	"encoding/json"
	"io"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/poco-ai/poco/services/poco/internal/fleet"
)

// serviceJSON is what one service has told, in JSON.
type serviceJSON struct {
	Service string `json:"service"`
	URL     string `json:"url,omitempty"`
	// Report is a poco.config.v1 message in canonical JSON.
	Report json.RawMessage `json:"report,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// RepliesJSON writes what services have told as JSON.
func RepliesJSON[R fleet.Report](out io.Writer, replies []fleet.Reply[R]) error {
	document := struct {
		Services []serviceJSON `json:"services"`
	}{}
	for _, reply := range replies {
		entry := serviceJSON{Service: reply.Name(), URL: reply.URL}
		var err error
		if reply.Err != nil {
			entry.Error = reply.Err.Error()
		} else if entry.Report, err = protojson.Marshal(reply.Report); err != nil {
			return err
		}
		document.Services = append(document.Services, entry)
	}
	return writeJSON(out, document)
}

// writeJSON writes a document with two blanks of indentation.
func writeJSON(out io.Writer, document any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}
