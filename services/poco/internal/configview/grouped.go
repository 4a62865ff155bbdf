package configview

import (
	"slices"
	"strings"
)

// grouped is what services say, each thing once, in the order in which it was
// said first.
type grouped[T comparable] struct {
	said []T
	// services are those that say it.
	services map[T][]string
}

// add notes what is said, by no service or by some.
func (g *grouped[T]) add(what T, services ...string) {
	if g.services == nil {
		g.services = map[T][]string{}
	}
	already, known := g.services[what]
	if !known {
		g.said = append(g.said, what)
	}
	for _, service := range services {
		if !slices.Contains(already, service) {
			already = append(already, service)
		}
	}
	g.services[what] = already
}

// saidBy ends a text with those who say so, where there are any.
func saidBy(text string, services []string) string {
	if len(services) == 0 {
		return text
	}
	return text + " (" + strings.Join(services, ", ") + ")"
}
