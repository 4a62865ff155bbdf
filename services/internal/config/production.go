package config

import (
	"slices"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

// refusedBy ends what production says about a value.
const refusedBy = ", which " + EnvironmentVariable + "=" + Production + " refuses"

// refuseInProduction complains about a value that is fit for development only.
func (r *reading[T]) refuseInProduction(s *resolved) {
	var message string
	fix := ownValue(s.Setting)
	switch {
	case s.insecure:
		message = "has a value that is fit for development only"
	case s.weakness != "":
		message = s.weakness
	case s.source > configv1.ConfigSource_CONFIG_SOURCE_DEFAULT && slices.Contains(s.GetProductionRefuses(), s.Text(r.msg.ProtoReflect())):
		message = "is " + s.Text(r.msg.ProtoReflect())
		fix = "leave it out for the default " + s.byDefault
	default:
		return
	}
	r.problem(Problem{Env: s.GetEnv(), Where: s.where, Message: message + refusedBy, Fix: fix})
}

// warnInDevelopment tells about a value that production would refuse for being
// easy to guess.
func (r *reading[T]) warnInDevelopment(s *resolved) {
	switch {
	case s.insecure:
		r.finding(FindingInsecureDefault, s.GetEnv(), "has a value that is fit for development only: "+ownValue(s.Setting))
	case s.weakness != "":
		r.finding(FindingWeakSecret, s.GetEnv(), s.weakness+": "+ownValue(s.Setting))
	}
}

func ownValue(s *schema.Setting) string {
	switch s.Kind {
	case schema.SecretText:
		return "set a value of your own, for example from: openssl rand -hex 32"
	case schema.SecretURL:
		return "change the password, on the server and here"
	default:
		return "set a value of your own"
	}
}

func isInsecure(s *schema.Setting, value string) bool {
	return slices.ContainsFunc(s.GetInsecureValues(), func(pattern string) bool {
		prefix, ok := strings.CutSuffix(pattern, "*")
		return ok && strings.HasPrefix(value, prefix) || value == pattern
	})
}
