package configview

import (
	"encoding/json"
	"io"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/poco-ai/poco/services/internal/config"
)

// checkJSON is what one service would say, in JSON.
type checkJSON struct {
	Service  string           `json:"service"`
	Problems []config.Problem `json:"problems"`
	// Report is a poco.config.v1.GetConfigResponse in canonical JSON.
	Report json.RawMessage `json:"report"`
}

// CheckJSON writes a check as JSON.
func CheckJSON(out io.Writer, check config.Check) error {
	document := struct {
		Services []checkJSON       `json:"services"`
		Strays   []json.RawMessage `json:"strays"`
	}{Strays: []json.RawMessage{}}
	for _, service := range check.Services {
		entry := checkJSON{Service: service.Service, Problems: append([]config.Problem{}, service.Problems...)}
		var err error
		if entry.Report, err = protojson.Marshal(service.Report); err != nil {
			return err
		}
		document.Services = append(document.Services, entry)
	}
	for _, finding := range check.Strays {
		text, err := protojson.Marshal(finding)
		if err != nil {
			return err
		}
		document.Strays = append(document.Strays, text)
	}
	return writeJSON(out, document)
}
