// Package jsonschema writes the environment of a service as JSON Schema (draft
// 2020-12), for editors and for checks of compose files, Helm values and the
// like before anything starts. It is as strict as can be without refusing what
// the loader accepts; rules about several settings are the loader's alone.
package jsonschema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

const (
	dialect = "https://json-schema.org/draft/2020-12/schema"
	// notEmpty is what counts as set: an empty variable is like none.
	notEmpty = `\S`

	// Keywords of our own.
	keySection        = "x-section"
	keyUnit           = "x-unit"
	keyFallback       = "x-fallback"
	keyDefaultIf      = "x-default-if"
	keyLive           = "x-live"
	keyNoEffect       = "x-no-effect"
	keyInsecureValues = "x-insecure-values"
	keyAgreement      = "x-agreement"
)

// Of returns the schema of a service's environment: an object with one property
// for each variable, its aliases and the variables that name a secret's file
// included. Values are written as in the environment, or in the JSON type that
// YAML gives them.
func Of(service schema.Service) ([]byte, error) {
	root := &jsonschema.Schema{
		Schema:      dialect,
		Title:       "Environment of " + service.Name,
		Description: "Variables that " + service.Name + " reads. Other variables may be there, too.",
		Type:        "object",
		Properties:  map[string]*jsonschema.Schema{},
	}
	add := func(name string, property *jsonschema.Schema) {
		root.Properties[name] = property
		root.PropertyOrder = append(root.PropertyOrder, name)
	}
	together := map[string][][]string{}
	for _, s := range service.Settings() {
		p, err := property(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.GetEnv(), err)
		}
		add(s.GetEnv(), p)
		for _, alias := range s.GetAliases() {
			add(alias, &jsonschema.Schema{
				Ref: "#/properties/" + s.GetEnv(), Description: "Another name for " + s.GetEnv() + ".", Deprecated: true,
			})
		}
		for i, file := range s.FileNames() {
			name := s.Names()[i]
			add(file, &jsonschema.Schema{Type: "string", Description: "File that holds " + name + "."})
			root.AllOf = append(root.AllOf, &jsonschema.Schema{Not: set(name, file)})
		}
		names := slices.Concat(s.Names(), s.FileNames())
		switch {
		case s.Default != nil:
		case s.GetRequired():
			root.AllOf = append(root.AllOf, anyOf(names))
		case s.GetTogether() != "":
			together[s.GetTogether()] = append(together[s.GetTogether()], names)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(together)) {
		root.AllOf = append(root.AllOf, allOrNone(together[group]))
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// anyOf demands that at least one of the variables is set.
func anyOf(names []string) *jsonschema.Schema {
	if len(names) == 1 {
		return set(names[0])
	}
	one := &jsonschema.Schema{}
	for _, name := range names {
		one.AnyOf = append(one.AnyOf, set(name))
	}
	return one
}

// allOrNone demands that at least one of each of the lists is set, or none at
// all.
func allOrNone(lists [][]string) *jsonschema.Schema {
	all := &jsonschema.Schema{}
	for _, names := range lists {
		all.AllOf = append(all.AllOf, anyOf(names))
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Not: anyOf(slices.Concat(lists...))}, all}}
}

// set demands that all of the variables are set.
func set(names ...string) *jsonschema.Schema {
	all := &jsonschema.Schema{Required: names, Properties: map[string]*jsonschema.Schema{}, PropertyOrder: names}
	for _, name := range names {
		all.Properties[name] = &jsonschema.Schema{Pattern: notEmpty}
	}
	return all
}

func property(s *schema.Setting) (*jsonschema.Schema, error) {
	p := &jsonschema.Schema{Description: s.Description(), WriteOnly: s.IsSecret(), Extra: map[string]any{}}
	switch s.Kind {
	case schema.Bool:
		// The numbers 0 and 1 are among the words for no and yes.
		p.Types = []string{"boolean", "integer", "string"}
		p.Minimum, p.Maximum = jsonschema.Ptr(0.0), jsonschema.Ptr(1.0)
		p.Pattern = whole(alternatives(schema.BoolWords()))
	case schema.Integer, schema.Size:
		p.Types = []string{"integer", "string"}
		p.Pattern = whole(integers(s.Range()))
		limit(p, s.Range())
	case schema.Number, schema.Duration:
		p.Types = []string{"number", "string"}
		p.Pattern = whole(decimals(s.Range()))
		limit(p, s.Range())
	case schema.List:
		p.Types = []string{"array", "string"}
		list(p, s)
	default:
		p.Type = "string"
		text(p, s)
	}
	if s.Default != nil {
		var err error
		if p.Default, err = native(s, s.GetDefault()); err != nil {
			return nil, err
		}
	}
	extend(p.Extra, s)
	return p, nil
}

// limit bounds numbers that are not written as text.
func limit(p *jsonschema.Schema, r schema.Range) {
	if r.MinExclusive {
		p.ExclusiveMinimum = r.Min
	} else {
		p.Minimum = r.Min
	}
	if r.MaxExclusive {
		p.ExclusiveMaximum = r.Max
	} else {
		p.Maximum = r.Max
	}
}

func text(p *jsonschema.Schema, s *schema.Setting) {
	if words := s.Choices(); len(words) > 0 {
		exact := &jsonschema.Schema{}
		for _, word := range words {
			exact.Enum = append(exact.Enum, word)
		}
		p.AnyOf = []*jsonschema.Schema{exact, {Pattern: whole(alternatives(words))}}
		return
	}
	rules := s.TextRules()
	if rules.HasMaxLen() {
		p.MaxLength = jsonschema.Ptr(int(rules.GetMaxLen()))
	}
	switch pattern := pattern(s); {
	case pattern != "":
		p.Pattern = whole(pattern)
	case rules.GetMinLen() > 1:
		p.Pattern = fmt.Sprintf(`^\s*$|^[\s\S]{%d,}$`, rules.GetMinLen())
	}
}

func list(p *jsonschema.Schema, s *schema.Setting) {
	p.Items = &jsonschema.Schema{Type: "string"}
	if n := s.ListRules().GetMaxItems(); n > 0 {
		p.MaxItems = jsonschema.Ptr(int(n))
	}
	if item := pattern(s); item != "" {
		p.Items.Pattern = whole(item)
		// Separated by commas or line breaks, or a JSON array.
		p.Pattern = `^\s*\[|^(?:\s*(?:` + item + `)?\s*(?:[,\r\n]|$))*$`
	}
}

// native is a value as YAML would give it.
func native(s *schema.Setting, value string) (json.RawMessage, error) {
	switch s.Kind {
	case schema.Bool, schema.Integer, schema.Size, schema.Number, schema.Duration:
		return json.RawMessage(value), nil
	case schema.List:
		return json.Marshal(strings.Split(value, ","))
	default:
		return json.Marshal(value)
	}
}

// extend adds what JSON Schema has no keyword for.
func extend(extra map[string]any, s *schema.Setting) {
	add := func(key, value string) {
		if value != "" {
			extra[key] = value
		}
	}
	add(keySection, s.SectionTitle())
	add(keyUnit, s.UnitName())
	add(keyFallback, s.GetFallback().GetEn())
	if c := s.GetDefaultIf(); c != nil {
		extra[keyDefaultIf] = map[string]string{"env": c.GetEnv(), "value": c.GetValue(), "default": c.GetDefault()}
	}
	if s.GetLive() {
		extra[keyLive] = true
	}
	if s.GetNoEffect() {
		extra[keyNoEffect] = true
	}
	if values := s.GetInsecureValues(); len(values) > 0 {
		extra[keyInsecureValues] = values
	}
	switch s.GetAgreement() {
	case configv1.Agreement_AGREEMENT_MUST:
		extra[keyAgreement] = "must"
	case configv1.Agreement_AGREEMENT_SHOULD:
		extra[keyAgreement] = "should"
	default:
	}
}
