package configview

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/poco/internal/configdiff"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Differences writes the settings that differ, and names the secrets of which
// nobody can tell.
func (s Screen) Differences(left, right string, differences []configdiff.Difference) error {
	table := &terminal.Table{
		Head:     []string{"VARIABLE", left, "FROM", right, "FROM", noteHead},
		Flexible: []bool{false, true, false, true, false, true},
	}
	var unknown []string
	for _, d := range differences {
		if !d.IsDifferent() {
			if !slices.Contains(unknown, d.Env) {
				unknown = append(unknown, d.Env)
			}
			continue
		}
		row := []terminal.Cell{{Text: d.Env}}
		for _, field := range []*configv1.ConfigField{d.Left, d.Right} {
			from := terminal.Cell{Text: sourceWords(field.GetSource()), Look: s.Style.Dim}
			row = append(row, terminal.Cell{Text: fieldWords(field)}, from)
		}
		table.Add(append(row, terminal.Cell{Text: noteOn(d), Look: s.Style.Warn})...)
	}
	if table.Rows() == 0 {
		fmt.Fprintln(s.Out, "No setting differs.")
	} else if err := table.Write(s.Out, s.Width, s.Style); err != nil {
		return err
	}
	if len(unknown) > 0 {
		fmt.Fprintln(s.Out, "\nSet on both sides, and not comparable from here: "+terminal.OneLine(strings.Join(unknown, ", ")))
	}
	return nil
}

// noteOn says what the two values do not: who has them, and that secrets that
// look alike differ.
func noteOn(d configdiff.Difference) string {
	var words []string
	if len(d.Services) > 0 {
		words = append(words, strings.Join(d.Services, ", "))
	}
	if d.Left != nil && d.Right != nil && d.Left.GetSecret() && fieldWords(d.Left) == fieldWords(d.Right) {
		words = append(words, "two different secrets")
	}
	return strings.Join(words, ": ")
}

// differenceJSON is one difference in JSON.
type differenceJSON struct {
	Env      string   `json:"env"`
	Services []string `json:"services,omitempty"`
	// Result is "different", or "unknown" for secrets of which nobody can tell.
	Result string          `json:"result"`
	Left   json.RawMessage `json:"left,omitempty"`
	Right  json.RawMessage `json:"right,omitempty"`
}

// DifferencesJSON writes differences as JSON.
func DifferencesJSON(out io.Writer, left, right string, differences []configdiff.Difference) error {
	document := struct {
		Left        string           `json:"left"`
		Right       string           `json:"right"`
		Differences []differenceJSON `json:"differences"`
	}{Left: left, Right: right, Differences: []differenceJSON{}}
	for _, d := range differences {
		entry := differenceJSON{Env: d.Env, Services: d.Services, Result: "different"}
		if !d.IsDifferent() {
			entry.Result = "unknown"
		}
		var err error
		if entry.Left, err = fieldJSON(d.Left); err != nil {
			return err
		}
		if entry.Right, err = fieldJSON(d.Right); err != nil {
			return err
		}
		document.Differences = append(document.Differences, entry)
	}
	return writeJSON(out, document)
}

// fieldJSON is nil for a side that has no such setting.
func fieldJSON(field *configv1.ConfigField) (json.RawMessage, error) {
	if field == nil {
		return nil, nil
	}
	return protojson.Marshal(field)
}
