// Package configview shows settings, and what is known about them, to people.
package configview

import (
	"fmt"
	"io"
	"slices"
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

// SourceWords says in words where a value comes from.
func SourceWords(source configv1.ConfigSource) string {
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

// ValueWords is a field's value for people: a secret shows only whether it is
// set.
func ValueWords(field *configv1.ConfigField) string {
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

// fieldOf finds a variable in a report, nil when the service has no such one.
func fieldOf(report *configv1.GetConfigResponse, env string) *configv1.ConfigField {
	for _, field := range report.GetFields() {
		if field.GetEnv() == env {
			return field
		}
	}
	return nil
}

// variables are the variables of all columns, in the order of the reports.
func variables(columns []Column) []string {
	var names []string
	for _, column := range columns {
		for _, field := range column.Report.GetFields() {
			if !slices.Contains(names, field.GetEnv()) {
				names = append(names, field.GetEnv())
			}
		}
	}
	return names
}

// Findings lists what an operator should know, what several services say alike
// once.
func (s Screen) Findings(columns []Column) {
	type line struct{ env, message string }
	var order []line
	said := map[line][]string{}
	severity := map[line]configv1.ConfigSeverity{}
	for _, column := range columns {
		for _, finding := range column.Report.GetFindings() {
			l := line{finding.GetEnv(), finding.GetMessage()}
			if said[l] == nil {
				order = append(order, l)
			}
			if !slices.Contains(said[l], column.Title) {
				said[l] = append(said[l], column.Title)
			}
			severity[l] = max(severity[l], finding.GetSeverity())
		}
	}
	if len(order) == 0 {
		return
	}
	fmt.Fprintln(s.Out, "\n"+s.Style.Bold("FINDINGS"))
	for _, l := range order {
		s.item(s.mark(severity[l]), strings.TrimSpace(l.env+" "+l.message)+" ("+strings.Join(said[l], ", ")+")")
	}
}

// mark begins a line about something of a severity.
func (s Screen) mark(severity configv1.ConfigSeverity) string {
	if severity == configv1.ConfigSeverity_CONFIG_SEVERITY_INFO {
		return s.Style.Dim("info") + "     "
	}
	return s.Style.Warn("warning") + "  "
}

// item writes one line of a list. Its text comes from elsewhere.
func (s Screen) item(mark, text string) {
	fmt.Fprintln(s.Out, mark+terminal.Clean(text))
}
