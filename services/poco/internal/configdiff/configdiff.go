// Package configdiff compares the settings of services and env files.
package configdiff

import (
	"slices"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// Agreement is what is known about two values.
type Agreement int

// Agreements. The zero value: nobody can tell.
const (
	Unknown Agreement = iota
	Equal
	Different
)

// Difference is a setting that differs between two sides, or a secret of which
// nobody can tell.
type Difference struct {
	Env string
	// Services that differ in it; empty when the sides are two services.
	Services []string
	// Left and Right are nil where a side has no such setting.
	Left, Right *configv1.ConfigField
	Agreement   Agreement
}

// Diff compares what two services, or one service by two sources, have. compare
// compares a secret that both have.
func Diff(left, right *configv1.GetConfigResponse, compare func(env string) Agreement) []Difference {
	var out []Difference
	same := left.GetService() == right.GetService()
	for _, env := range config.VariablesOf(left, right) {
		d := Difference{Env: env, Left: config.FieldOf(left, env), Right: config.FieldOf(right, env)}
		switch {
		case d.Left == nil || d.Right == nil:
			// Other services have other settings; the same one has them in another version.
			d.Agreement = Equal
			if same {
				d.Agreement = Different
			}
		case d.Left.GetIsSet() != d.Right.GetIsSet() || d.Left.GetValue() != d.Right.GetValue():
			d.Agreement = Different
		case d.Left.GetSecret() && d.Left.GetIsSet():
			d.Agreement = compare(env)
		default:
			d.Agreement = Equal
		}
		if d.Agreement != Equal {
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
			return other.Env == d.Env && other.Agreement == d.Agreement && alike(other.Left, d.Left) && alike(other.Right, d.Right)
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
