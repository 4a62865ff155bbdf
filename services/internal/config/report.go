package config

import (
	"slices"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/version"
)

// Report returns every setting as it is in force, with what the sources say
// now, without secrets.
func (l *Loaded[T]) Report() *configv1.GetConfigResponse {
	st := l.state.Load()
	report := &configv1.GetConfigResponse{
		Service:  l.service,
		Version:  version.String(),
		Findings: st.findings(),
	}
	root := st.inForce.msg.ProtoReflect()
	for i, r := range st.inForce.settings {
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
			Layers:          st.seen.settings[i].layers,
			Secret:          r.IsSecret(),
			Required:        r.GetRequired(),
			InsecureDefault: r.insecure,
			Live:            r.GetLive(),
			RestartPending:  st.pending[r.GetEnv()],
			NoEffect:        r.GetNoEffect(),
			Fallback:        r.GetFallback().GetEn(),
			Agreement:       r.GetAgreement(),
			Choices:         r.Choices(),
			Section:         r.SectionTitle(),
		}
		switch {
		case r.IsSecret():
			field.Value = r.masked
		case st.inForce.broken[r.GetEnv()] && field.IsSet: // it is not in the message
			field.Value = r.layers[0].GetValue()
		case field.IsSet:
			field.Value = r.Text(root)
		}
		report.Fields = append(report.Fields, field)
	}
	return report
}

// findings are those about the values in force, the sources, and what of the
// sources is not in force.
func (st *state[T]) findings() []*configv1.ConfigFinding {
	out := slices.Clone(st.inForce.findings)
	add := func(code, env, message string) { out = append(out, newFinding(code, env, message)) }
	for _, s := range st.inForce.settings {
		if st.pending[s.GetEnv()] {
			add(FindingRestartPending, s.GetEnv(), "has been changed, and the value before is in force until a restart")
		}
	}
	for _, p := range st.refused {
		env := p.Env
		p.Env = ""
		add(FindingReloadRefused, env, "the configuration has been changed and is not followed, because a start would refuse it: "+p.String())
	}
	return out
}

// FieldOf finds a variable in a report; nil when the service has no such setting.
func FieldOf(report *configv1.GetConfigResponse, env string) *configv1.ConfigField {
	for _, field := range report.GetFields() {
		if field.GetEnv() == env {
			return field
		}
	}
	return nil
}

// VariablesOf are the variables of all the reports, each once, in their order.
func VariablesOf(reports ...*configv1.GetConfigResponse) []string {
	var names []string
	for _, report := range reports {
		for _, field := range report.GetFields() {
			if !slices.Contains(names, field.GetEnv()) {
				names = append(names, field.GetEnv())
			}
		}
	}
	return names
}
