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
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/redact"
)

// Codes of findings.
const (
	// FindingInsecureDefault: the value in use is fit for development only.
	FindingInsecureDefault = "insecure_default"
	// FindingAliasUsed: the setting is set under another name.
	FindingAliasUsed = "alias_used"
	// FindingRestartPending: the source has changed and the change is not in force.
	FindingRestartPending = "restart_pending"
	// FindingReloadRefused: the sources have changed to what a start would refuse.
	FindingReloadRefused = "reload_refused"
)

// resolved is a setting with its value.
type resolved struct {
	*schema.Setting
	// byDefault is the default in environment notation. It stands in the schema,
	// so that it may be shown even of a secret.
	byDefault string
	// layers have masked values, safe to show.
	layers   []*configv1.ConfigLayer
	source   configv1.ConfigSource
	secret   Secret
	masked   string
	insecure bool
}

// reading is what the sources say at one moment, or what a configuration in use
// is made of.
type reading[T proto.Message] struct {
	msg      T
	settings []*resolved
	findings []*configv1.ConfigFinding
	problems *Problems
	// broken are the settings that have a problem.
	broken map[string]bool
	// ofSources is how many findings, the first ones, are about where values come
	// from; the others are about the values.
	ofSources int
	// stamps are the files that were read, or would have been if they were there.
	stamps stamps
}

// Load fills msg for a service. The error is a *Problems that lists all of
// them.
func Load[T proto.Message](msg T, service string, src Sources) (*Loaded[T], error) {
	src = src.clone()
	r := read(msg, service, src)
	if len(r.problems.List) > 0 {
		return nil, r.problems
	}
	return newLoaded(r, service, src), nil
}

// read fills msg from the sources and notes what is wrong with it.
func read[T proto.Message](msg T, service string, src Sources) *reading[T] {
	r := &reading[T]{msg: msg, problems: &Problems{Service: service}, broken: map[string]bool{}}
	reader := newReader(src, r.problem, r.finding)
	root := msg.ProtoReflect()
	for _, s := range schema.Of(root.Descriptor()) {
		r.settings = append(r.settings, resolve(s, reader.layers(s, defaultOf(s, r.settings, root)), func(env, message string) {
			// One complaint about one setting is enough.
			if !r.broken[env] {
				r.problem(env, message)
			}
		}, msg))
	}
	r.stamps = reader.stamps
	r.ofSources = len(r.findings)
	r.check()
	r.sortProblems()
	return r
}

func (r *reading[T]) problem(env, message string) {
	r.broken[env] = true
	r.problems.List = append(r.problems.List, Problem{Env: env, Message: message})
}

func (r *reading[T]) finding(code, env, message string) {
	r.findings = append(r.findings, &configv1.ConfigFinding{Code: code, Env: env, Message: message})
}

// check applies what does not depend on where values come from: the rules of
// production and those of the schema.
func (r *reading[T]) check() {
	environment := ""
	for _, s := range r.settings {
		if s.GetEnv() == EnvironmentVariable {
			environment = s.Value(r.msg.ProtoReflect()).String()
		}
	}
	for _, s := range r.settings {
		if !s.insecure {
			continue
		}
		if environment == Production {
			r.problem(s.GetEnv(), "has an insecure default value, which "+EnvironmentVariable+"="+Production+" refuses: "+insecureFix(s.Setting))
			continue
		}
		r.finding(FindingInsecureDefault, s.GetEnv(), "has an insecure default value, fit for development only: "+insecureFix(s.Setting))
	}
	for _, p := range violations(r.msg, r.settings, r.broken) {
		r.problem(p.Env, p.Message)
	}
}

// sortProblems brings the problems into the order of the schema.
func (r *reading[T]) sortProblems() {
	order := map[string]int{}
	for i, s := range r.settings {
		order[s.GetEnv()] = i + 1
	}
	slices.SortStableFunc(r.problems.List, func(a, b Problem) int { return order[a.Env] - order[b.Env] })
}

// defaultOf is a setting's default in environment notation, nil when there is
// none. A conditional one looks at a setting that comes before it in the schema.
func defaultOf(s *schema.Setting, before []*resolved, root protoreflect.Message) *string {
	condition := s.GetDefaultIf()
	if condition == nil {
		return s.Default
	}
	for _, other := range before {
		if other.GetEnv() == condition.GetEnv() {
			if other.Text(root) == condition.GetValue() {
				return &condition.Default
			}
			return s.Default
		}
	}
	panic("config: " + s.GetEnv() + " has a default that depends on " + condition.GetEnv() + ", which does not come before it")
}

// resolve takes a setting's value from its highest layer.
func resolve(s *schema.Setting, layers []layer, problem func(env, message string), msg proto.Message) *resolved {
	r := &resolved{Setting: s}
	for _, l := range layers {
		if l.source == configv1.ConfigSource_CONFIG_SOURCE_DEFAULT {
			r.byDefault = l.value
		}
		r.layers = append(r.layers, &configv1.ConfigLayer{Source: l.source, Origin: l.origin, Value: s.Show(l.value)})
	}
	if len(layers) == 0 {
		if s.GetRequired() {
			problem(s.GetEnv(), "is required and not set: "+fix(s))
		}
		return r
	}
	winner := layers[0]
	r.source = winner.source
	r.insecure = isInsecure(s, winner.value)
	if s.IsSecret() {
		r.secret = NewSecret(winner.value)
		r.masked = s.Show(winner.value)
	}
	if !s.IsSecret() && redact.HoldsPassword(winner.value) {
		// The message would carry it to wherever the message is printed.
		problem(s.GetEnv(), "holds a password, and this setting is no secret: write the URL without user name and password")
		return r
	}
	if err := s.Assign(msg.ProtoReflect(), winner.value); err != nil {
		problem(s.GetEnv(), fmt.Sprintf("expected %s: correct the value %s", s.Expected(), winner.where()))
	}
	return r
}

// fix says how to set a setting.
func fix(s *schema.Setting) string {
	if s.IsSecret() {
		return "set it, or " + s.GetEnv() + fileSuffix + " to a file that holds it (" + s.Summary() + ")"
	}
	return "set it to " + s.Expected() + " (" + s.Summary() + ")"
}

func insecureFix(s *schema.Setting) string {
	if s.IsSecret() {
		return "set a value of your own, for example from: openssl rand -hex 32"
	}
	return "set a value of your own"
}

func isInsecure(s *schema.Setting, value string) bool {
	for _, pattern := range s.GetInsecureValues() {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(value, prefix) || value == pattern {
			return true
		}
	}
	return false
}

// LogFindings logs what an operator should know, one warning each.
func LogFindings(logger *slog.Logger, report *configv1.GetConfigResponse) {
	for _, f := range report.GetFindings() {
		logger.Warn("configuration: "+f.GetEnv()+" "+f.GetMessage(), "code", f.GetCode(), "env", f.GetEnv())
	}
}
