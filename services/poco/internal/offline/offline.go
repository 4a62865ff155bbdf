// Package offline tells what services would be configured to do, without any
// being there.
package offline

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

// Service is what a service would make of its sources.
type Service struct {
	Report   *configv1.GetConfigResponse
	Problems []config.Problem
	Loaded   *config.Loaded[proto.Message]
}

// Inspect reads sources as the service of that name would at its start.
func Inspect(service string, src config.Sources) (*Service, error) {
	s, ok := schema.Named(service)
	if !ok {
		return nil, fmt.Errorf("there is no service %q", service)
	}
	loaded, problems := config.Inspect(s.Message, service, src)
	inspected := &Service{Report: loaded.Report(), Problems: problems, Loaded: loaded}
	inspected.restore()
	return inspected, nil
}

// File is the sources that an env file alone makes.
func File(path string) config.Sources {
	return config.Sources{DotEnvPath: path, DotEnvRequired: true}
}

// restore shows what was written where it could not be read: a value with a
// problem is not in the message.
func (s *Service) restore() {
	broken := map[string]bool{}
	for _, problem := range s.Problems {
		broken[problem.Env] = true
	}
	for _, field := range s.Report.GetFields() {
		if broken[field.GetEnv()] && len(field.GetLayers()) > 0 {
			field.Value = field.GetLayers()[0].GetValue()
		}
	}
}

// Present returns those of the services that sources are meant for, too, besides
// the base ones: that have a setting which no base service reads. A service that
// requires such a setting is meant only when that one is set, for others may be
// set for what starts it.
func Present(src config.Sources, base []string) []string {
	common := map[string]bool{}
	for _, service := range schema.Services() {
		for _, setting := range service.Settings() {
			if slices.Contains(base, service.Name) {
				common[setting.GetEnv()] = true
			}
		}
	}
	var present []string
	for _, service := range schema.Services() {
		if slices.Contains(base, service.Name) {
			continue
		}
		loaded, _ := config.Inspect(service.Message, service.Name, src)
		var required, set, requiredSet bool
		for _, field := range loaded.Report().GetFields() {
			if common[field.GetEnv()] {
				continue
			}
			is := field.GetSource() > configv1.ConfigSource_CONFIG_SOURCE_DEFAULT
			set = set || is
			if field.GetRequired() {
				required, requiredSet = true, requiredSet || is
			}
		}
		if required && requiredSet || !required && set {
			present = append(present, service.Name)
		}
	}
	return present
}
