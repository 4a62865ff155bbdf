package configview

import (
	"fmt"
	"slices"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// labelWidth is the width of the labels on the left.
const labelWidth = 14

// Definition says what a variable is, what its readers have in common once.
func (s Screen) Definition(env string, readers []Reader) {
	var lines grouped[[2]string]
	var all []string
	for _, reader := range readers {
		all = append(all, reader.Service)
		for _, line := range definitionLines(reader) {
			lines.add(line, reader.Service)
		}
	}
	// What is said under one label stands together, in the order of the first.
	slices.SortStableFunc(lines.said, func(a, b [2]string) int { return slices.Index(labels, a[0]) - slices.Index(labels, b[0]) })
	fmt.Fprintln(s.Out, s.Style.Bold(env))
	s.labelled("read by", strings.Join(all, ", "))
	label := ""
	for _, line := range lines.said {
		text := line[1]
		if services := lines.services[line]; len(services) < len(readers) {
			text = saidBy(text, services)
		}
		if line[0] == label {
			s.labelled("", text)
			continue
		}
		label = line[0]
		s.labelled(label, text)
	}
}

// labels are the labels of a definition in their order.
var labels = []string{"meaning", "type", "rules", "default", "other names", "required", "production", "agreement", "a change", "effect"}

func definitionLines(reader Reader) [][2]string {
	setting := reader.Setting
	var lines [][2]string
	add := func(label, text string) {
		if text != "" {
			lines = append(lines, [2]string{label, text})
		}
	}
	add("meaning", setting.Description())
	kind := setting.Type()
	if unit := setting.UnitName(); unit != "" {
		kind += ", in " + unit
		if setting.GetUnit() == configv1.Unit_UNIT_COMMA_SEPARATED {
			kind = "list, " + unit
		}
	}
	add("type", kind)
	add("rules", setting.Constraint())
	add("default", defaultWords(reader))
	add("other names", strings.Join(slices.Concat(setting.GetAliases(), setting.FileNames()), ", "))
	if setting.GetRequired() {
		add("required", "a start without it is refused")
	}
	if n := setting.GetMinSecretLength(); n > 0 {
		add("production", fmt.Sprintf("refuses fewer than %d characters and known examples", n))
	}
	if values := setting.GetProductionRefuses(); len(values) > 0 {
		add("production", "refuses "+strings.Join(values, ", "))
	}
	switch setting.GetAgreement() {
	case configv1.Agreement_AGREEMENT_MUST:
		add("agreement", "all services have to have the same")
	case configv1.Agreement_AGREEMENT_SHOULD:
		add("agreement", "usually the same in all services")
	default:
	}
	if setting.GetLive() {
		add("a change", "takes effect without a restart")
	} else {
		add("a change", "takes effect at the next start")
	}
	if setting.GetNoEffect() {
		add("effect", "none in this version: it is loaded and checked only")
	}
	return lines
}

func defaultWords(reader Reader) string {
	setting := reader.Setting
	text := "none"
	switch {
	case setting.Default != nil:
		text = setting.GetDefault()
	case setting.GetFallback().GetEn() != "":
		text = setting.GetFallback().GetEn()
	}
	if condition := setting.GetDefaultIf(); condition != nil {
		text += "; " + condition.GetDefault() + " with " + condition.GetEnv() + "=" + condition.GetValue()
	}
	return text
}

// labelled writes a label and, beside it, a text over as many lines as it needs.
func (s Screen) labelled(label, text string) { s.result(s.Style.Dim, label, text) }

// wrap breaks a text at spaces; it does not where width is too small for that.
func wrap(text string, width int) []string {
	words := strings.Fields(text)
	if width < 2*labelWidth {
		return []string{strings.Join(words, " ")}
	}
	var lines []string
	line := ""
	for _, word := range words {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// InService says what a variable is in one service: the value in force, from
// where, and what each other source would have given.
func (s Screen) InService(title string, report *configv1.GetConfigResponse, env string, problems []config.Problem) {
	fmt.Fprintf(s.Out, "\n%s\n", s.Style.Bold(terminal.OneLine(title)))
	for _, problem := range problems {
		if problem.Env == env || problem.Env == "" {
			s.labelled("refused", problem.Message)
		}
	}
	field := config.FieldOf(report, env)
	if field == nil {
		if report != nil {
			s.labelled("", "has no such setting")
		}
		return
	}
	s.layers(field)
	if field.GetRestartPending() {
		s.labelled("pending", "the change is not in force until the "+report.GetService()+" is started again")
	}
	for _, finding := range report.GetFindings() {
		if finding.GetEnv() == env {
			s.labelled("finding", finding.GetMessage())
		}
	}
}

// layers says what is in force and what each other source would give.
func (s Screen) layers(field *configv1.ConfigField) {
	labels := []string{"in force", "without that", "then"}
	if field.GetRestartPending() {
		// The layers are what the sources say now.
		labels = append([]string{"next start"}, labels[1:]...)
		s.labelled("in force", fieldWords(field)+", as it was at the start ("+sourceWords(field.GetSource())+")")
	}
	layers := field.GetLayers()
	for i, layer := range layers {
		value := valueWords(field.GetSecret(), true, layer.GetValue())
		if i == 0 && !field.GetRestartPending() {
			value = fieldWords(field) // in the one notation, where the layer has what was written
		}
		s.labelled(labels[min(i, len(labels)-1)], value+", "+whence(field, layer))
	}
	switch {
	case len(layers) == 0:
		s.labelled(labels[0], withoutLayers(field))
	case len(layers) == 1 && layers[0].GetSource() > configv1.ConfigSource_CONFIG_SOURCE_DEFAULT:
		s.labelled(labels[1], withoutLayers(field))
	}
}

// withoutLayers says what holds when nobody sets a field.
func withoutLayers(field *configv1.ConfigField) string {
	switch {
	case field.GetFallback() != "":
		return "(not set): " + field.GetFallback()
	case field.GetRequired():
		return "(not set), and the start would be refused"
	default:
		return "(not set)"
	}
}

func whence(field *configv1.ConfigField, layer *configv1.ConfigLayer) string {
	switch layer.GetSource() {
	case configv1.ConfigSource_CONFIG_SOURCE_ENVIRONMENT:
		if slices.Contains(field.GetAliases(), layer.GetOrigin()) {
			return "from the environment, as " + layer.GetOrigin()
		}
		return "from the environment"
	case configv1.ConfigSource_CONFIG_SOURCE_DEFAULT:
		return "by default"
	case configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED:
		return "supplied by poco up"
	default:
		return "from the file " + layer.GetOrigin()
	}
}

// Unanswered says that a service did not answer.
func (s Screen) Unanswered(who string, err error) {
	fmt.Fprintf(s.Out, "\n%s %s\n", s.Style.Bold(terminal.OneLine(who)), s.Style.Bad(terminal.OneLine(err.Error())))
}
