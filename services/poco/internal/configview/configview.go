// Package configview shows settings, and what is known about them, to people.
package configview

import (
	"fmt"
	"io"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// absent stands where a service has no such setting.
const absent = "–"

// Column is one service in a table.
type Column struct {
	// Title is unique among the columns.
	Title  string
	Report *configv1.GetConfigResponse
}

// Screen is where things are shown.
type Screen struct {
	Out   io.Writer
	Style terminal.Style
	// Width of the terminal; 0 means no limit.
	Width int
}

// sourceWords says in words where a value comes from.
func sourceWords(source configv1.ConfigSource) string {
	switch source {
	case configv1.ConfigSource_CONFIG_SOURCE_ENVIRONMENT:
		return "environment"
	case configv1.ConfigSource_CONFIG_SOURCE_FILE:
		return "file"
	case configv1.ConfigSource_CONFIG_SOURCE_DOTENV:
		return ".env"
	case configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED:
		return "poco up"
	case configv1.ConfigSource_CONFIG_SOURCE_DEFAULT:
		return "default"
	default:
		return ""
	}
}

// fieldWords is a field's value for people: a secret shows only whether it is
// set. A service without the field has nil.
func fieldWords(field *configv1.ConfigField) string {
	if field == nil {
		return absent
	}
	return valueWords(field.GetSecret(), field.GetIsSet(), field.GetValue())
}

func valueWords(secret, set bool, value string) string {
	switch {
	case !set:
		return "(not set)"
	case value != "":
		return value
	case secret:
		return "(set, secret)"
	default:
		return "(empty)"
	}
}

// Findings lists what an operator should know, what several services say alike
// once. The strays are findings that are no service's.
func (s Screen) Findings(columns []Column, strays []*configv1.ConfigFinding) {
	type line struct{ env, message string }
	var lines grouped[line]
	severity := map[line]configv1.ConfigSeverity{}
	add := func(finding *configv1.ConfigFinding, services ...string) {
		l := line{finding.GetEnv(), finding.GetMessage()}
		lines.add(l, services...)
		severity[l] = max(severity[l], finding.GetSeverity())
	}
	for _, column := range columns {
		for _, finding := range column.Report.GetFindings() {
			add(finding, column.Title)
		}
	}
	for _, finding := range strays {
		add(finding)
	}
	if len(lines.said) == 0 {
		return
	}
	fmt.Fprintln(s.Out, "\n"+s.Style.Bold("FINDINGS"))
	for _, l := range lines.said {
		text := saidBy(strings.TrimSpace(l.env+" "+l.message), lines.services[l])
		fmt.Fprintln(s.Out, s.mark(severity[l])+terminal.OneLine(text))
	}
}

// mark begins a line about something of a severity.
func (s Screen) mark(severity configv1.ConfigSeverity) string {
	if severity <= configv1.ConfigSeverity_CONFIG_SEVERITY_INFO {
		return s.Style.Dim("info") + "     "
	}
	return s.Style.Warn("warning") + "  "
}
