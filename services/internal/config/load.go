// Package config fills a service's config message from its sources.
package config

import (
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Problems is every reason why a configuration is refused.
type Problems struct {
	// Service is the service whose configuration it is.
	Service string
	// List has one entry for each problem.
	List []Problem
}

// Problem is one reason why a configuration is refused.
type Problem struct {
	// Env is the variable.
	Env string
	// Message says what was expected and how to fix it, never a secret's value.
	Message string
}

// Error implements error.
func (p *Problems) Error() string { return p.Service }

// Loaded is a configuration in use.
type Loaded[T proto.Message] struct {
	// Msg holds every value that is not a secret.
	Msg     T
	service string
	secrets map[string]Secret
}

// Load fills msg for a service. The error is a *Problems that lists all of
// them.
func Load[T proto.Message](msg T, service string, src Sources) (*Loaded[T], error) {
	return &Loaded[T]{Msg: msg, service: service}, nil
}

// Secret returns the secret of a variable, and panics when the schema declares
// no such secret.
func (l *Loaded[T]) Secret(env string) Secret { return l.secrets[env] }

// Report returns every setting as it is in use, without secrets.
func (l *Loaded[T]) Report() *configv1.GetConfigResponse {
	return &configv1.GetConfigResponse{Service: l.service}
}
