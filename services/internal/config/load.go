// Package config fills a service's config message from its sources. It knows no
// setting by name: what there is, it reads from the schema, the config messages
// and their (poco.config.v1.setting) option.
package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Codes of findings.
const (
	// FindingInsecureDefault: the value in use is fit for development only.
	FindingInsecureDefault = "insecure_default"
	// FindingAliasUsed: the setting is set under another name.
	FindingAliasUsed = "alias_used"
)

// Loaded is a configuration in use. Secrets are only in Secret.
type Loaded[T proto.Message] struct {
	// Msg holds every value that is not a secret. Do not change it.
	Msg T

	service  string
	settings []*resolved
	findings []*configv1.ConfigFinding
}

// resolved is a setting with its value.
type resolved struct {
	*setting
	// layers have masked values, safe to show.
	layers   []*configv1.ConfigLayer
	source   configv1.ConfigSource
	secret   Secret
	masked   string
	insecure bool
}

// Load fills msg for a service. The error is a *Problems that lists all of
// them.
func Load[T proto.Message](msg T, service string, src Sources) (*Loaded[T], error) {
	l := &Loaded[T]{Msg: msg, service: service}
	problems := &Problems{Service: service}
	broken := map[string]bool{}
	problem := func(env, message string) {
		broken[env] = true
		problems.List = append(problems.List, Problem{Env: env, Message: message})
	}
	finding := func(code, env, message string) {
		l.findings = append(l.findings, &configv1.ConfigFinding{Code: code, Env: env, Message: message})
	}
	reader := newReader(src, problem, finding)
	root := msg.ProtoReflect()
	environment := ""
	for _, s := range settingsOf(root.Descriptor()) {
		r := resolve(s, reader.layers(s), func(env, message string) {
			// One complaint about one setting is enough.
			if !broken[env] {
				problem(env, message)
			}
		}, msg)
		l.settings = append(l.settings, r)
		if s.GetEnv() == EnvironmentVariable {
			environment = s.get(root).String()
		}
	}
	for _, r := range l.settings {
		if !r.insecure {
			continue
		}
		if environment == Production {
			problem(r.GetEnv(), "has an insecure default value, which "+EnvironmentVariable+"="+Production+" refuses: "+insecureFix(r.setting))
			continue
		}
		finding(FindingInsecureDefault, r.GetEnv(), "has an insecure default value, fit for development only: "+insecureFix(r.setting))
	}
	for _, p := range violations(msg, l.settings, broken) {
		problem(p.Env, p.Message)
	}
	if len(problems.List) > 0 {
		order := map[string]int{}
		for i, r := range l.settings {
			order[r.GetEnv()] = i + 1
		}
		slices.SortStableFunc(problems.List, func(a, b Problem) int { return order[a.Env] - order[b.Env] })
		return nil, problems
	}
	return l, nil
}

// resolve takes a setting's value from its highest layer.
func resolve(s *setting, layers []layer, problem func(env, message string), msg proto.Message) *resolved {
	r := &resolved{setting: s}
	for _, l := range layers {
		r.layers = append(r.layers, &configv1.ConfigLayer{Source: l.source, Origin: l.origin, Value: s.show(l.value)})
	}
	if len(layers) == 0 {
		if s.GetRequired() {
			problem(s.GetEnv(), "is required and not set: "+s.fix())
		}
		return r
	}
	winner := layers[0]
	r.source = winner.source
	r.insecure = s.isInsecure(winner.value)
	if s.kind.isSecret() {
		r.secret = NewSecret(winner.value)
		r.masked = s.show(winner.value)
	}
	if !s.kind.isSecret() && holdsPassword(winner.value) {
		// The message would carry it to wherever the message is printed.
		problem(s.GetEnv(), "holds a password, and this setting is no secret: write the URL without user name and password")
		return r
	}
	if err := s.assign(msg.ProtoReflect(), winner.value); err != nil {
		problem(s.GetEnv(), fmt.Sprintf("expected %s: correct the value %s", s.expected(), winner.where()))
	}
	return r
}

// fix says how to set a setting.
func (s *setting) fix() string {
	if s.kind.isSecret() {
		return "set it, or " + s.GetEnv() + fileSuffix + " to a file that holds it (" + s.summary() + ")"
	}
	return "set it to " + s.expected() + " (" + s.summary() + ")"
}

func insecureFix(s *setting) string {
	if s.kind.isSecret() {
		return "set a value of your own, for example from: openssl rand -hex 32"
	}
	return "set a value of your own"
}

// show is a value as it may be shown.
func (s *setting) show(value string) string {
	switch s.kind {
	case kindSecret:
		return ""
	case kindSecretURL:
		return MaskURL(value)
	default:
		return maskPlain(value)
	}
}

func (s *setting) isInsecure(value string) bool {
	for _, pattern := range s.GetInsecureValues() {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(value, prefix) || value == pattern {
			return true
		}
	}
	return false
}

// Secret returns the secret of a variable, unset when there is none, and panics
// when the schema declares no such secret.
func (l *Loaded[T]) Secret(env string) Secret {
	for _, r := range l.settings {
		if r.GetEnv() == env && r.kind.isSecret() {
			return r.secret
		}
	}
	panic("config: " + l.service + " has no secret " + env)
}

// Service is the service's name.
func (l *Loaded[T]) Service() string { return l.service }

// LogFindings logs what an operator should know, one warning each.
func LogFindings(logger *slog.Logger, report *configv1.GetConfigResponse) {
	for _, f := range report.GetFindings() {
		logger.Warn("configuration: "+f.GetEnv()+" "+f.GetMessage(), "code", f.GetCode(), "env", f.GetEnv())
	}
}
