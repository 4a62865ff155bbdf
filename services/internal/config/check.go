package config

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

// Check is what services would say to an environment if they were started in
// it.
type Check struct {
	// Services has an entry for each service that was asked about.
	Services []ServiceCheck
	// Strays are the variables that none of these services reads, see
	// FindingUnknownVariable and FindingOtherService.
	Strays []*configv1.ConfigFinding
}

// ServiceCheck is what one service would say.
type ServiceCheck struct {
	Service string
	// Problems are why it would refuse to start.
	Problems []Problem
	// Report is what it would report. It holds the findings, and of a value that
	// has a problem what was written.
	Report *configv1.GetConfigResponse
	// Loaded are its settings, as far as they have no problem.
	Loaded *Loaded[proto.Message]
}

// CheckService reads the sources as the service of that name does at its start,
// and nothing else: no service is called.
func CheckService(name string, src Sources) (ServiceCheck, error) {
	service, ok := schema.Named(name)
	if !ok {
		return ServiceCheck{}, fmt.Errorf("there is no service %q", name)
	}
	return checkService(service, src), nil
}

func checkService(service schema.Service, src Sources) ServiceCheck {
	loaded, problems := Inspect(service.Message, service.Name, src)
	return ServiceCheck{service.Name, problems, loaded.Report(), loaded}
}

// CheckEnvironment is CheckService for each of the services; without names, for
// all. To find out what has to be changed before production, check
// src.ForProduction().
func CheckEnvironment(src Sources, services ...string) Check {
	var c Check
	for _, service := range schema.Services() {
		if len(services) == 0 || slices.Contains(services, service.Name) {
			c.Services = append(c.Services, checkService(service, src))
		}
	}
	c.Strays = strays(src, services)
	return c
}

// AlsoFor are the services that sources are meant for besides the base ones: that
// have a setting which no base service reads. One that requires such a setting is
// meant only when that one is set, for others may be set for what starts it.
func AlsoFor(src Sources, base []string) []string {
	isBase := func(service string) bool { return slices.Contains(base, service) }
	var also []string
	for _, service := range schema.Services() {
		if isBase(service.Name) {
			continue
		}
		var set, required, requiredSet bool
		for _, field := range checkService(service, src).Report.GetFields() {
			if slices.ContainsFunc(known()[field.GetEnv()], isBase) {
				continue
			}
			isSet := field.GetSource() > configv1.ConfigSource_CONFIG_SOURCE_DEFAULT
			set = set || isSet
			required = required || field.GetRequired()
			requiredSet = requiredSet || field.GetRequired() && isSet
		}
		if requiredSet || set && !required {
			also = append(also, service.Name)
		}
	}
	return also
}

// Err is one report of all problems; nil when every service would start.
func (c Check) Err() error {
	var errs []error
	for _, s := range c.Services {
		errs = append(errs, &Problems{Service: s.Service, List: s.Problems})
	}
	return Join(errs...)
}
