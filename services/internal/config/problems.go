package config

import (
	"fmt"
	"strings"
)

// Problems is every reason why a configuration is refused.
type Problems struct { //nolint:errname // a list, and named for what it holds
	// Service is the service whose configuration it is.
	Service string
	// List has one entry for each problem, in the order of the schema.
	List []Problem
}

// Problem is one reason why a configuration is refused.
type Problem struct {
	// Env is the variable; empty when the problem is not one variable's.
	Env string
	// Message says what was expected and how to fix it, never a value.
	Message string
}

// String is one line.
func (p Problem) String() string {
	if p.Env == "" {
		return p.Message
	}
	return p.Env + ": " + p.Message
}

// Error implements error: one line for each problem.
func (p *Problems) Error() string {
	var b strings.Builder
	noun := "problems"
	if len(p.List) == 1 {
		noun = "problem"
	}
	fmt.Fprintf(&b, "the configuration of the %s has %d %s:", p.Service, len(p.List), noun)
	for _, problem := range p.List {
		b.WriteString("\n  - " + problem.String())
	}
	return b.String()
}
