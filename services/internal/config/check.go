package config

import (
	"slices"

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
	// Report is what it would report; incomplete where there are problems. It
	// holds the findings.
	Report *configv1.GetConfigResponse
}

// CheckEnvironment reads the sources as each of the services does at its start,
// and nothing else: no service is called. Without names it is about all
// services. To find out what has to be changed before production, check
// src.ForProduction().
func CheckEnvironment(src Sources, services ...string) Check {
	var c Check
	for _, service := range schema.Services() {
		if len(services) > 0 && !slices.Contains(services, service.Name) {
			continue
		}
		loaded, problems := Inspect(service.Message, service.Name, src)
		c.Services = append(c.Services, ServiceCheck{service.Name, problems, loaded.Report()})
	}
	c.Strays = strays(src, services)
	return c
}

// Err is one report of all problems; nil when every service would start.
func (c Check) Err() error {
	var errs []error
	for _, s := range c.Services {
		errs = append(errs, &Problems{Service: s.Service, List: s.Problems})
	}
	return Join(errs...)
}
