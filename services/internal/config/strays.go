package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/agnivade/levenshtein"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

const (
	// ownPrefix begins names that nobody else uses.
	ownPrefix = "POCO_"
	// testPrefix begins what Poco's own tests read.
	testPrefix = "POCO_TEST_"
	// farthest is how many letters may differ between a variable and the one that
	// was probably meant; half as many where names are short.
	farthest  = 2
	shortName = 8
	// leastName is the length from which letters may differ in the environment:
	// PORT and SORT are two words.
	leastName = 5
)

var (
	// plainName is a name that is surely not a part of a value.
	plainName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
	// serviceLink are names that Kubernetes and Docker links make up for services.
	serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?|PORT)$`)
)

// known are all variables that any service reads, with the names of those that
// do.
var known = sync.OnceValue(func() map[string][]string {
	out := map[string][]string{}
	for _, service := range schema.Services() {
		for _, s := range service.Settings() {
			for _, name := range slices.Concat(s.Names(), s.FileNames()) {
				out[name] = append(out[name], service.Name)
			}
		}
	}
	return out
})

// stray is a variable that is not read.
type stray struct {
	name string
	// line is where the .env file has it; 0 when it is in the environment.
	line int
	// meant is the variable that was probably meant; empty when there is none.
	meant string
}

// findStrays returns the variables that no service reads: all of the .env file,
// and of the environment, which others use as well, those that look like ours.
func (r *reader) findStrays() []stray {
	var out []stray
	for _, name := range slices.Sorted(maps.Keys(r.dotEnv.values)) {
		if !isKnown(name) {
			out = append(out, stray{name, r.dotEnv.lines[name], similar(name, true)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.environ)) {
		if isKnown(name) || r.environ[name] == "" || r.dotEnv.lines[name] > 0 {
			continue
		}
		meant := similar(name, false)
		if meant != "" || strings.HasPrefix(name, ownPrefix) && plainName.MatchString(name) && !strings.HasPrefix(name, testPrefix) && !serviceLink.MatchString(name) {
			out = append(out, stray{name, 0, meant})
		}
	}
	return out
}

func isKnown(name string) bool { return name == envFileVariable || known()[name] != nil }

// Similar returns the variable that was probably meant by a name that no service
// reads; empty when there is none.
func Similar(name string) string { return similar(name, true) }

// similar returns the known variable that was probably meant by a name; empty
// when there is none. A name in a file of ours may be further off than one in
// the environment.
func similar(name string, ours bool) string {
	if plain, ok := strings.CutSuffix(name, schema.FileSuffix); ok && known()[plain] != nil {
		return plain
	}
	// What differs by a word comes behind all that differs by letters.
	const byWord, never = farthest + 1, farthest + 2
	best, distance := "", never
	upper := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for candidate := range known() {
		d := never
		switch {
		case upper == candidate:
			d = 0
		case ours && strings.TrimPrefix(upper, ownPrefix) == strings.TrimPrefix(candidate, ownPrefix):
			d = 1
		case ours && min(len(candidate), len(name)) >= shortName && (strings.HasSuffix(upper, "_"+candidate) || strings.HasSuffix(candidate, "_"+upper)):
			d = farthest
		case abs(len(candidate)-len(name)) <= farthest && (ours || min(len(candidate), len(name)) >= leastName):
			d = levenshtein.ComputeDistance(upper, candidate)
			if d > farthest || len(candidate) < shortName && d > farthest/2 {
				d = never
			}
		}
		if d == never && (oneWordLess(upper, candidate) || ours && oneWordLess(candidate, upper)) {
			d = byWord
		}
		if d < distance || d == distance && candidate < best {
			best, distance = candidate, d
		}
	}
	return best
}

// oneWordLess tells whether one name is another one without one of its words,
// which is not the first, and has several words itself.
func oneWordLess(short, long string) bool {
	first := strings.Index(short, "_") + 1
	if first == 0 || !strings.HasPrefix(long, short[:first]) || strings.Count(long, "_") != strings.Count(short, "_")+1 {
		return false
	}
	words, all := strings.Split(short, "_"), strings.Split(long, "_")
	for i := 1; i < len(all); i++ {
		if slices.Equal(words, slices.Concat(all[:i], all[i+1:])) {
			return true
		}
	}
	return false
}

func abs(n int) int { return max(n, -n) }

// finding says what a stray variable is.
func (s stray) finding(r *reader) *configv1.ConfigFinding {
	env, where := s.name, "in the environment"
	if s.line > 0 {
		where = "in " + r.dotEnv.at(s.line)
	}
	if !plainName.MatchString(env) && s.meant == "" {
		// It may be a piece of a secret that was broken into lines.
		env = ""
	}
	message := "is set " + where + ", and no service reads it"
	switch {
	case s.meant == "":
	case s.name == s.meant+schema.FileSuffix:
		message += ": " + schema.FileSuffix + " is for secrets only, set " + s.meant + " itself"
	default:
		message += ": did you mean " + s.meant + "?"
	}
	if env == "" {
		message = "a variable whose name is not shown " + message
	}
	return newFinding(FindingUnknownVariable, printable(env), message)
}

// strays are findings about the variables that none of the services reads.
func strays(src Sources, services []string) []*configv1.ConfigFinding {
	r := newReader(src, func(Problem) {}, func(string, string, string) {})
	var out []*configv1.ConfigFinding
	for _, s := range r.findStrays() {
		out = append(out, s.finding(r))
	}
	for _, name := range slices.Sorted(maps.Keys(r.dotEnv.values)) {
		readers := known()[name]
		if len(services) == 0 || len(readers) == 0 || slices.ContainsFunc(readers, func(by string) bool { return slices.Contains(services, by) }) {
			continue
		}
		out = append(out, newFinding(FindingOtherService, name, "is set in "+r.dotEnv.at(r.dotEnv.lines[name])+", and read by "+enumerate(readers)+" only"))
	}
	return out
}

// nearMisses are findings about variables by which a setting of the service was
// probably meant.
func (r *reader) nearMisses(strays []stray, service string) []*configv1.ConfigFinding {
	var out []*configv1.ConfigFinding
	for _, s := range strays {
		if slices.Contains(known()[s.meant], service) {
			out = append(out, s.finding(r))
		}
	}
	return out
}
