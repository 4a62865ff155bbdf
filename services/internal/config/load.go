// Package config fills a service's config message from its sources. It knows no
// setting by name: what there is, it reads from the schema, the config messages
// and their (poco.config.v1.setting) option.
package config

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/egress"
	"github.com/poco-ai/poco/services/internal/redact"
)

// resolved is a setting with its value.
type resolved struct {
	*schema.Setting
	// byDefault is the default in environment notation. It stands in the schema,
	// so that it may be shown even of a secret.
	byDefault string
	// layers have masked values, safe to show.
	layers []*configv1.ConfigLayer
	source configv1.ConfigSource
	// where says in words where the value is.
	where    string
	secret   Secret
	masked   string
	insecure bool
	// weakness says why a secret can be guessed; empty when it seems fine.
	weakness string
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

// goOut are the services that call others than Poco's own, and so use the proxies
// of the environment. No .env file tells them.
var goOut = []string{"backend", "manager", "executor"}

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

// Inspect reads what Load reads, and returns it together with what is wrong with
// it, where Load would refuse it. It is for explaining settings, not for running
// on them: a setting with a problem has no value in the message.
func Inspect[T proto.Message](msg T, service string, src Sources) (*Loaded[T], []Problem) {
	src = src.clone()
	r := read(msg, service, src)
	return newLoaded(r, service, src), r.problems.List
}

// read fills msg from the sources and notes what is wrong with it.
func read[T proto.Message](msg T, service string, src Sources) *reading[T] {
	r := &reading[T]{msg: msg, problems: &Problems{Service: service}, broken: map[string]bool{}}
	reader := newReader(src, r.problem, r.finding)
	root := msg.ProtoReflect()
	for _, s := range schema.Of(root.Descriptor()) {
		r.settings = append(r.settings, r.resolve(s, reader.layers(s, defaultOf(s, r.settings, root))))
	}
	strays := reader.findStrays()
	r.missing(reader.dotEnv, strays)
	r.findings = append(r.findings, reader.nearMisses(strays, service)...)
	if slices.Contains(goOut, service) {
		for _, c := range egress.Check(func(name string) string { return reader.environ[name] }) {
			r.finding(FindingUnusableProxy, c.Env, c.Message)
		}
	}
	r.stamps = reader.stamps
	r.ofSources = len(r.findings)
	r.check()
	r.sortProblems()
	return r
}

func (r *reading[T]) problem(p Problem) {
	if p.Env != "" {
		r.broken[p.Env] = true
	}
	r.problems.List = append(r.problems.List, p)
}

func (r *reading[T]) finding(code, env, message string) {
	r.findings = append(r.findings, newFinding(code, env, message))
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
		if environment == Production {
			r.refuseInProduction(s)
		} else {
			r.warnInDevelopment(s)
		}
	}
	for _, v := range violations(r.msg, r.settings, r.broken) {
		if v.advice == "" {
			r.problem(v.problem)
		} else {
			r.finding(v.advice, v.problem.Env, v.problem.Message)
		}
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
func (r *reading[T]) resolve(s *schema.Setting, layers []layer) *resolved {
	v := &resolved{Setting: s}
	for _, l := range layers {
		if l.source == configv1.ConfigSource_CONFIG_SOURCE_DEFAULT {
			v.byDefault = l.value
		}
		v.layers = append(v.layers, &configv1.ConfigLayer{Source: l.source, Origin: printable(l.origin), Value: valid(s.Show(l.value))})
	}
	if len(layers) == 0 {
		return v
	}
	winner := layers[0]
	v.source, v.where = winner.source, winner.where
	if s.IsSecret() {
		v.secret = NewSecret(winner.value)
		v.masked = valid(s.Show(winner.value))
	}
	if r.broken[s.GetEnv()] {
		return v // one complaint about one setting is enough
	}
	if message, fix := r.refusal(v, winner.value); message != "" {
		r.problem(Problem{Env: s.GetEnv(), Where: v.where, Message: message, Fix: fix})
		return v
	}
	v.insecure = isInsecure(s, winner.value)
	v.weakness = weakness(s, winner.value)
	if s.IsSecret() && strings.TrimSpace(winner.value) != winner.value {
		r.finding(FindingSecretSpaces, s.GetEnv(), "begins or ends with a space "+v.where+", which is a part of it: remove the space, unless it is meant")
	}
	if s.GetNoEffect() && v.source > configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED {
		r.finding(FindingNoEffect, s.GetEnv(), "is set and has no effect: its feature does not exist in this version")
	}
	return v
}

// refusal assigns a value, or says why it cannot be used and what to do.
func (r *reading[T]) refusal(v *resolved, value string) (message, fix string) {
	switch {
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return "is not text: expected UTF-8 without NUL", "write the value anew"
	case v.IsSecret() && strings.ContainsFunc(value, unicode.IsControl):
		return "has a line break or another control character in it, which no header can carry", "write the value anew, on one line"
	case !v.IsSecret() && redact.HoldsPassword(value):
		// The message would carry it to wherever the message is printed.
		return "holds a password, and this setting is no secret", "write the URL without user name and password"
	}
	if err := v.Assign(r.msg.ProtoReflect(), value); err != nil {
		if v.Kind == schema.Integer && strings.HasPrefix(value, "tcp://") {
			return "expected " + v.Expected(), "Kubernetes sets it for a service of that name: set enableServiceLinks: false for the pod, or set it yourself"
		}
		if v.Kind == schema.SecretURL && isUnescaped(value) {
			return "expected " + v.Expected(), "in user and password, write %40 for @, %2F for /, %20 for a space and %25 for %"
		}
		if v.LacksScheme(value) {
			return "expected " + v.Expected(), "put http:// or https:// before it"
		}
		return "expected " + v.Expected(), correction(v)
	}
	return v.Complaint(value)
}

// isUnescaped tells whether user and password of a URL have characters that
// have to be escaped there.
func isUnescaped(value string) bool {
	_, rest, _ := strings.Cut(value, "://")
	userinfo := rest[:max(0, strings.LastIndex(rest, "@"))]
	_, err := url.PathUnescape(userinfo)
	return err != nil || strings.ContainsAny(userinfo, "@/ ")
}

// missing complains about what is required and not set, or set under a name that
// nobody reads, and about parts of one thing of which only some are set.
func (r *reading[T]) missing(file *dotEnv, strays []stray) {
	parts := map[string][]string{}
	for _, s := range r.settings {
		if s.GetTogether() != "" && len(s.layers) > 0 {
			parts[s.GetTogether()] = append(parts[s.GetTogether()], s.GetEnv())
		}
	}
	for _, s := range r.settings {
		set := parts[s.GetTogether()]
		if len(s.layers) > 0 || r.broken[s.GetEnv()] || !s.GetRequired() && len(set) == 0 {
			continue
		}
		if file.unread { // it may be set there
			r.broken[s.GetEnv()] = true
			continue
		}
		message := "is required and not set"
		if len(set) > 0 {
			message += ", unlike " + enumerate(set) + ", which cannot be used without it"
		}
		fix := setting(s.Setting)
		for _, name := range s.Names() {
			if file.cut[name] {
				message += ", because its value in " + file.at(file.lines[name]) + " is a $ and a name that no earlier line sets"
				fix = "write the value in single quotes, in which a $ is just a $"
			}
		}
		for _, stray := range strays {
			if slices.Contains(s.Names(), strings.TrimSuffix(stray.meant, schema.FileSuffix)) {
				message += ", and " + printable(stray.name) + ", which nobody reads, is"
				fix = "rename " + printable(stray.name) + " to " + stray.meant
			}
		}
		r.problem(Problem{Env: s.GetEnv(), Message: message, Fix: fix})
	}
}

// setting says how to set what is not set.
func setting(s *schema.Setting) string {
	switch {
	case s.IsSecret():
		return "set it, or " + s.GetEnv() + schema.FileSuffix + " to the path of a file that holds it (" + s.Summary() + ")"
	case s.GetExample() != "":
		return "set it, for example to " + s.GetExample() + " (" + s.Summary() + ")"
	default:
		return "set it: " + s.Expected() + " (" + s.Summary() + ")"
	}
}

// correction says how to correct what is set.
func correction(r *resolved) string {
	switch {
	case r.source <= configv1.ConfigSource_CONFIG_SOURCE_DEFAULT:
		return "set it"
	case r.byDefault != "":
		return "correct the value, or leave it out for the default " + r.byDefault
	default:
		return "correct the value"
	}
}

func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// valid makes a text fit for a message.
func valid(text string) string { return strings.ToValidUTF8(text, string(unicode.ReplacementChar)) }
