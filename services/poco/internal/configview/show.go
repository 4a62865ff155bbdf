package configview

import (
	"fmt"
	"slices"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Filter chooses the settings of a table.
type Filter int

// Filters.
const (
	// Told are settings that somebody has set, that are required, or that need
	// attention.
	Told Filter = iota
	// All settings.
	All
	// Live are settings whose change needs no restart.
	Live
	// Pending are settings whose source has changed and whose change is not in
	// force.
	Pending
)

// Has tells whether the filter chooses a field.
func (f Filter) Has(field *configv1.ConfigField) bool {
	switch f {
	case All:
		return true
	case Live:
		return field.GetLive()
	case Pending:
		return field.GetRestartPending()
	default:
		return field.GetRequired() || field.GetInsecureDefault() || field.GetRestartPending() ||
			field.GetIsSet() && field.GetSource() > configv1.ConfigSource_CONFIG_SOURCE_DEFAULT
	}
}

// Table writes the columns side by side, or one below the other where the
// terminal is too narrow.
func (s Screen) Table(columns []Column, filter Filter) error {
	table := s.table(columns, filter)
	if len(columns) == 1 || table.Fits(s.Width) {
		return s.write(table)
	}
	first := true
	for _, column := range columns {
		part := s.table([]Column{column}, filter)
		if part.Rows() == 0 {
			continue
		}
		if !first {
			fmt.Fprintln(s.Out)
		}
		first = false
		if err := s.write(part); err != nil {
			return err
		}
	}
	return nil
}

// write writes a table, unless it is empty.
func (s Screen) write(table *terminal.Table) error {
	if table.Rows() == 0 {
		return nil
	}
	return table.Write(s.Out, s.Width, s.Style)
}

// noteHead is the head of the column of what is remarkable.
const noteHead = "NOTE"

func (s Screen) table(columns []Column, filter Filter) *terminal.Table {
	table := &terminal.Table{Head: []string{"VARIABLE"}, Flexible: []bool{false}}
	var reports []*configv1.GetConfigResponse
	for _, column := range columns {
		reports = append(reports, column.Report)
		table.Head = append(table.Head, strings.ToUpper(column.Title), "FROM")
		table.Flexible = append(table.Flexible, true, false)
	}
	table.Head, table.Flexible = append(table.Head, noteHead), append(table.Flexible, true)
	for _, env := range config.VariablesOf(reports...) {
		chosen := false
		row := []terminal.Cell{{Text: env}}
		var notes grouped[string]
		for _, column := range columns {
			field := config.FieldOf(column.Report, env)
			if field == nil {
				row = append(row, terminal.Cell{Text: absent, Look: s.Style.Dim}, terminal.Cell{})
				continue
			}
			chosen = chosen || filter.Has(field)
			value := terminal.Cell{Text: fieldWords(field)}
			if !field.GetIsSet() || field.GetSource() == configv1.ConfigSource_CONFIG_SOURCE_DEFAULT {
				value.Look = s.Style.Dim
			}
			row = append(row, value, terminal.Cell{Text: sourceWords(field.GetSource()), Look: s.Style.Dim})
			for _, text := range notesOn(field) {
				notes.add(text, column.Title)
			}
		}
		if chosen {
			table.Add(append(row, terminal.Cell{Text: noteWords(notes, len(columns)), Look: s.Style.Warn})...)
		}
	}
	return table
}

// PendingTable writes what has changed on disk and is not in force. It returns
// how many settings that are.
func (s Screen) PendingTable(columns []Column) (int, error) {
	table := &terminal.Table{
		Head:     []string{"VARIABLE", "SERVICE", "IN FORCE", "AT THE NEXT START", "FROM"},
		Flexible: []bool{false, false, true, true, false},
	}
	for _, column := range columns {
		for _, field := range column.Report.GetFields() {
			if !Pending.Has(field) {
				continue
			}
			next, from := valueWords(field.GetSecret(), false, ""), ""
			if layers := field.GetLayers(); len(layers) > 0 {
				next, from = valueWords(field.GetSecret(), true, layers[0].GetValue()), sourceWords(layers[0].GetSource())
			}
			table.Add(terminal.Cell{Text: field.GetEnv()}, terminal.Cell{Text: column.Title},
				terminal.Cell{Text: fieldWords(field)}, terminal.Cell{Text: next, Look: s.Style.Warn}, terminal.Cell{Text: from, Look: s.Style.Dim})
		}
	}
	return table.Rows(), s.write(table)
}

// notesOn are what is remarkable about a field.
func notesOn(field *configv1.ConfigField) []string {
	var notes []string
	add := func(is bool, text string) {
		if is {
			notes = append(notes, text)
		}
	}
	add(field.GetInsecureDefault(), "insecure")
	add(field.GetRestartPending(), "restart pending")
	add(field.GetNoEffect(), "no effect in this version")
	return notes
}

// noteWords joins notes; the services are named where there are several.
func noteWords(notes grouped[string], columns int) string {
	words := slices.Clone(notes.said)
	if columns > 1 {
		for i, text := range words {
			words[i] = saidBy(text, notes.services[text])
		}
	}
	return strings.Join(words, ", ")
}
