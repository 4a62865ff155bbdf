// Package configdiff compares the settings of services and env files.
package configdiff

import (
	"slices"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// Difference is a setting that differs between two sides, or a secret of which
// nobody can tell.
type Difference struct {
	Env string
	// Services that differ in it; empty when the sides are two services.
	Services []string
	// Left and Right are nil where a side has no such setting.
	Left, Right *configv1.ConfigField
	// Result is DIFFERENT, or what keeps the secrets from being compared.
	Result configv1.PeerResult
}

const (
	equal     = configv1.PeerResult_PEER_RESULT_EQUAL
	different = configv1.PeerResult_PEER_RESULT_DIFFERENT
)

// IsDifferent is false where nobody can tell.
func (d Difference) IsDifferent() bool { return d.Result == different }

// Diff compares what two services, or one service by two sources, have. compare
// compares a secret that both have.
func Diff(left, right *configv1.GetConfigResponse, compare func(env string) configv1.PeerResult) []Difference {
	var out []Difference
	same := left.GetService() == right.GetService()
	for _, env := range config.VariablesOf(left, right) {
		d := Difference{Env: env, Left: config.FieldOf(left, env), Right: config.FieldOf(right, env)}
		switch {
		case d.Left == nil || d.Right == nil:
			// Other services have other settings; the same one has them in another version.
			d.Result = equal
			if same {
				d.Result = different
			}
		case d.Left.GetIsSet() != d.Right.GetIsSet() || d.Left.GetValue() != d.Right.GetValue():
			d.Result = different
		case d.Left.GetSecret() && d.Left.GetIsSet():
			d.Result = compare(env)
		default:
			d.Result = equal
		}
		if d.Result != equal {
			out = append(out, d)
		}
	}
	return out
}

// Merge puts the differences of another service to those there are, what is
// alike once.
func Merge(all, more []Difference, service string) []Difference {
	for _, d := range more {
		i := slices.IndexFunc(all, func(other Difference) bool {
			return other.Env == d.Env && other.IsDifferent() == d.IsDifferent() && alike(other.Left, d.Left) && alike(other.Right, d.Right)
		})
		if i >= 0 {
			all[i].Services = append(all[i].Services, service)
			continue
		}
		d.Services = []string{service}
		all = append(all, d)
	}
	return all
}

func alike(a, b *configv1.ConfigField) bool {
	return (a == nil) == (b == nil) && a.GetIsSet() == b.GetIsSet() && a.GetValue() == b.GetValue()
}
