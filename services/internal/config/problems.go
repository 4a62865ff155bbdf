package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problems is every reason why a configuration is refused.
type Problems struct { //nolint:errname // a list, and named for what it holds
	// Service is the service whose configuration it is; empty when it is that of
	// several.
	Service string
	// List has one entry for each problem, in the order of the schema.
	List []Problem
}

// Problem is one reason why a configuration is refused. It never holds a value.
type Problem struct {
	// Env is the variable; empty when the problem is not one variable's.
	Env string `json:"env,omitempty"`
	// Message says what is wrong: what was expected, for example.
	Message string `json:"message"`
	// Where says where the value comes from, for example "in the environment";
	// empty when there is none.
	Where string `json:"where,omitempty"`
	// Fix says what to do.
	Fix string `json:"fix,omitempty"`
	// Services are the services that have the problem, separated by commas, when
	// that is not plain.
	Services string `json:"-"`
}

// String is one line.
func (p Problem) String() string {
	line := p.title()
	if line != "" {
		line += ": "
	}
	line += p.Message
	if p.Fix != "" {
		line += ": " + p.Fix
	}
	return line
}

// title says what the problem is about: PORT, in line 3 of .env.
func (p Problem) title() string {
	title := p.Env
	if p.Where != "" && p.Env != "" {
		title += ", "
	}
	title += p.Where
	if p.Services != "" {
		title += " (" + p.Services + ")"
	}
	return strings.TrimSpace(title)
}

// Error implements error: the report that a person reads, with one numbered
// entry for each problem.
func (p *Problems) Error() string {
	var b strings.Builder
	whose, noun := "", "problems"
	if p.Service != "" {
		whose = " of the " + p.Service
	}
	if len(p.List) == 1 {
		noun = "problem"
	}
	fmt.Fprintf(&b, "the configuration%s has %d %s:\n", whose, len(p.List), noun)
	width := len(fmt.Sprint(len(p.List)))
	for i, problem := range p.List {
		lines := []string{problem.title(), problem.Message}
		if problem.Fix != "" {
			lines = append(lines, "→ "+problem.Fix)
		}
		lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
		fmt.Fprintf(&b, "\n  %*d. %s\n", width, i+1, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(&b, "  %*s  %s\n", width, "", line)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Join makes one report of the problems of several services, each told once. An
// error that is not a *Problems is returned as it is.
func Join(errs ...error) error {
	joined := &Problems{}
	var services [][]string
	index := map[string]int{}
	for _, err := range errs {
		var problems *Problems
		if !errors.As(err, &problems) {
			if err != nil {
				return err
			}
			continue
		}
		for _, problem := range problems.List {
			// Without the fix: services describe one variable in different words.
			key := problem.title() + "\n" + problem.Message
			i, known := index[key]
			if !known {
				i = len(joined.List)
				index[key] = i
				joined.List = append(joined.List, problem)
				services = append(services, nil)
			}
			services[i] = append(services[i], problems.Service)
		}
	}
	if len(joined.List) == 0 {
		return nil
	}
	for i := range joined.List {
		joined.List[i].Services = strings.Join(services[i], ", ")
	}
	return joined
}
