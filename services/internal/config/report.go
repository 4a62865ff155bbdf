package config

import (
	"slices"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/gen/go/poco/config/v1/configcomments"
	"github.com/poco-ai/poco/services/internal/version"
)

// Report returns every setting as it is in use, without secrets.
func (l *Loaded[T]) Report() *configv1.GetConfigResponse {
	report := &configv1.GetConfigResponse{
		Service:  l.service,
		Version:  version.String(),
		Findings: slices.Clone(l.findings),
	}
	root := l.Msg.ProtoReflect()
	for _, r := range l.settings {
		field := &configv1.ConfigField{
			Path:            r.path,
			Env:             r.GetEnv(),
			Aliases:         r.GetAliases(),
			Type:            r.kind.String(),
			Unit:            unitName(r.GetUnit()),
			DefaultValue:    r.show(r.GetDefault()),
			Description:     r.description(),
			Constraint:      r.constraint(),
			IsSet:           len(r.layers) > 0,
			Source:          r.source,
			Layers:          r.layers,
			Secret:          r.kind.isSecret(),
			Required:        r.GetRequired(),
			InsecureDefault: r.insecure,
			Live:            r.GetLive(),
		}
		switch {
		case r.kind.isSecret():
			field.Value = r.masked
		case field.IsSet:
			field.Value = r.format(r.get(root))
		}
		if r.Setting.Default == nil {
			field.DefaultValue = ""
		}
		report.Fields = append(report.Fields, field)
	}
	return report
}

// description is the field's leading comment.
func (s *setting) description() string {
	return configcomments.Fields[string(s.field.FullName())]
}

// summary is the first sentence of the description, to go into a message.
func (s *setting) summary() string {
	text := s.description()
	if text == "" {
		return s.path
	}
	first, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(first, ".")
}
