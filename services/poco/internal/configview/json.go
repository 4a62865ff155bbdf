package configview

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"

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

// writeJSON writes a document with two blanks of indentation. Whatever a
// terminal would act on is escaped.
func writeJSON(out io.Writer, document any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return err
	}
	_, err := out.Write(escapeControls(text.Bytes()))
	return err
}

// escapeControls escapes the control and format characters that JSON allows in
// strings as they are, such as C1 controls and marks that reorder text.
func escapeControls(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		if r == '\n' || !unicode.In(r, unicode.Cc, unicode.Cf) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.Bytes()
}
