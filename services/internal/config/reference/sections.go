// Package reference writes what operators read about settings: the reference
// page in each language, and .env files. All of it comes from the schema.
package reference

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/poco-ai/poco/services/internal/config/schema"
)

// section is a group of settings with one heading.
type section struct {
	group    protoreflect.MessageDescriptor
	settings []*schema.Setting
	// services are the names of those that have the group.
	services []string
}

// sections are the groups of all services, in the order of the schema; a group
// that several services have comes once.
func sections(services []schema.Service) []*section {
	var all []*section
	byGroup := map[protoreflect.FullName]*section{}
	for _, service := range services {
		for _, s := range service.Settings() {
			name := s.Group.FullName()
			group := byGroup[name]
			if group == nil {
				group = &section{group: s.Group}
				byGroup[name] = group
				all = append(all, group)
			}
			if !slices.Contains(group.services, service.Name) {
				group.services = append(group.services, service.Name)
			}
			if len(group.services) == 1 {
				group.settings = append(group.settings, s)
			}
		}
	}
	return all
}

// shared tells whether several services have the group.
func (s *section) shared() bool { return len(s.services) > 1 }

// readers are the names of the services that read each variable.
func readers(services []schema.Service) map[string][]string {
	out := map[string][]string{}
	for _, service := range services {
		for _, s := range service.Settings() {
			out[s.GetEnv()] = append(out[s.GetEnv()], service.Name)
		}
	}
	return out
}
