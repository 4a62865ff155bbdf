package config

import (
	"slices"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
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
			Path:            r.Path,
			Env:             r.GetEnv(),
			Aliases:         r.GetAliases(),
			Type:            r.Type(),
			Unit:            r.UnitName(),
			DefaultValue:    r.byDefault,
			Description:     r.Description(),
			Constraint:      r.Constraint(),
			IsSet:           len(r.layers) > 0,
			Source:          r.source,
			Layers:          r.layers,
			Secret:          r.IsSecret(),
			Required:        r.GetRequired(),
			InsecureDefault: r.insecure,
			Live:            r.GetLive(),
			NoEffect:        r.GetNoEffect(),
			Fallback:        r.GetFallback().GetEn(),
			Agreement:       r.GetAgreement(),
			Choices:         r.Choices(),
			Section:         r.SectionTitle(),
		}
		switch {
		case r.IsSecret():
			field.Value = r.masked
		case field.IsSet:
			field.Value = r.Text(root)
		}
		report.Fields = append(report.Fields, field)
	}
	return report
}
