package config

import (
	"errors"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/services/internal/rules"
)

// violations checks the schema's rules and says in terms of variables what
// breaks them. Settings that are known to be broken are left out.
func violations(msg proto.Message, settings []*resolved, broken map[string]bool) []Problem {
	err := rules.Validator{}.Validate(msg)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		// A rule that cannot be evaluated; its error may hold values.
		return []Problem{{Message: "the rules of the configuration cannot be checked: this is a mistake in this build"}}
	}
	var out []Problem
	said := map[string]bool{}
	for _, v := range invalid.Violations {
		path := protovalidate.FieldPathString(v.Proto.GetField())
		p, own := problemAt(settings, path, v.Proto.GetMessage())
		if broken[p.Env] || !own && mentions(p.Message, broken) || said[p.String()] {
			continue
		}
		said[p.String()] = true
		out = append(out, p)
	}
	return out
}

// problemAt says what is wrong at a path of the message; own tells whether it is
// about one setting alone.
func problemAt(settings []*resolved, path, message string) (p Problem, own bool) {
	path, _, _ = strings.Cut(path, "[") // an element of a list
	for _, r := range settings {
		if r.Path == path {
			fix := "correct the value"
			if len(r.layers) == 0 {
				fix = "set it"
			} else if where := (layer{source: r.source, name: r.GetEnv(), origin: r.layers[0].GetOrigin()}).where(); where != "" {
				fix += " " + where
			}
			return Problem{Env: r.GetEnv(), Message: "expected " + r.Expected() + ": " + fix}, true
		}
	}
	// A rule about several settings; by convention its message begins with the
	// variable that is to be changed.
	for _, r := range settings {
		if rest, ok := strings.CutPrefix(message, r.GetEnv()+" "); ok {
			return Problem{Env: r.GetEnv(), Message: rest}, false
		}
	}
	return Problem{Message: message}, false
}

// mentions tells whether a rule is about a setting that is broken anyway.
func mentions(message string, broken map[string]bool) bool {
	for env := range broken {
		if env != "" && strings.Contains(message, env) {
			return true
		}
	}
	return false
}
