package config

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/rules"
)

// adviceRule begins the ids of rules in the schema that are advice,
// advice.CODE.NAME: what breaks them is told as a finding with that code.
const adviceRule = "advice."

// violation is a broken rule of the schema.
type violation struct {
	problem Problem
	// advice is the code of the finding that it is; empty for a problem.
	advice string
}

// violations checks the schema's rules and says in terms of variables what
// breaks them. Settings that are known to be broken are left out.
func violations(msg proto.Message, settings []*resolved, broken map[string]bool) []violation {
	err := rules.Validator{}.Validate(msg)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		// A rule that cannot be evaluated; its error may hold values.
		return []violation{{problem: Problem{Message: "the rules of the configuration cannot be checked: this is a mistake in this build"}}}
	}
	var out []violation
	said := map[string]bool{}
	for _, v := range invalid.Violations {
		path := protovalidate.FieldPathString(v.Proto.GetField())
		p, own := problemAt(settings, path, v.Proto.GetMessage())
		if broken[p.Env] || !own && mentions(p.Message+p.Fix, broken) || said[p.String()] {
			continue
		}
		said[p.String()] = true
		code, isAdvice := strings.CutPrefix(v.Proto.GetRuleId(), adviceRule)
		code, _, _ = strings.Cut(code, ".")
		switch {
		case !isAdvice:
			out = append(out, violation{problem: p})
		case isChosen(settings, v.Proto.GetMessage()):
			if p.Fix != "" {
				p.Message += ": " + p.Fix
			}
			out = append(out, violation{problem: p, advice: code})
		}
	}
	return out
}

// problemAt says what is wrong at a path of the message; own tells whether it is
// about one setting alone.
func problemAt(settings []*resolved, path, message string) (p Problem, own bool) {
	path, _, _ = strings.Cut(path, "[") // an element of a list
	for _, r := range settings {
		if r.Path == path {
			return Problem{Env: r.GetEnv(), Where: r.where, Message: "expected " + r.Expected(), Fix: correction(r)}, true
		}
	}
	// A rule about several settings; by convention its message begins with the
	// variable that is to be changed, and ends with how.
	message, fix, _ := strings.Cut(message, ": ")
	for _, r := range settings {
		if rest, ok := strings.CutPrefix(message, r.GetEnv()+" "); ok {
			return Problem{Env: r.GetEnv(), Where: r.where, Message: rest, Fix: fix}, false
		}
	}
	return Problem{Message: message, Fix: fix}, false
}

// variable is the name of one in the text of a rule.
var variable = regexp.MustCompile(`\b[A-Z][A-Z0-9_]+\b`)

// mentions tells whether a rule is about a setting that is broken anyway.
func mentions(message string, broken map[string]bool) bool {
	return slices.ContainsFunc(variable.FindAllString(message, -1), func(env string) bool { return broken[env] })
}

// isChosen tells whether somebody has set one of the settings that a rule
// mentions: defaults, and what poco up supplies, need no advice.
func isChosen(settings []*resolved, message string) bool {
	mentioned := variable.FindAllString(message, -1)
	return slices.ContainsFunc(settings, func(r *resolved) bool {
		return r.source > configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED && slices.Contains(mentioned, r.GetEnv())
	})
}
