package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

const (
	// EnvironmentVariable tells what kind of deployment this is.
	EnvironmentVariable = "APP_ENV"
	// Development is its value that tolerates insecure defaults.
	Development = "development"
	// Production is its value that refuses insecure defaults.
	Production = "production"

	// envFileVariable names another .env file.
	envFileVariable = "POCO_ENV_FILE"

	// maxMalformed is how many lines of a .env file that cannot be read are named:
	// there are thousands in what is no such file.
	maxMalformed = 20
)

// Sources is where settings are read from. An empty value counts as none, as
// it does in compose files that pass variables on.
type Sources struct {
	// Environ has the form of os.Environ().
	Environ []string
	// DotEnvPath is read when the file exists; empty reads none, and so does
	// /dev/null.
	DotEnvPath string
	// Embedded are the values "poco up" supplies, by variable name.
	Embedded map[string]string
	// DotEnvRequired makes a missing DotEnvPath a problem.
	DotEnvRequired bool
}

// clone is a copy that nobody else changes.
func (s Sources) clone() Sources {
	s.Environ, s.Embedded = slices.Clone(s.Environ), maps.Clone(s.Embedded)
	return s
}

// OSSources returns the process's environment and ./.env (or the file that
// POCO_ENV_FILE names, which then has to exist).
func OSSources() Sources {
	src := Sources{Environ: os.Environ(), DotEnvPath: ".env"}
	if path := os.Getenv(envFileVariable); path != "" {
		src.DotEnvPath, src.DotEnvRequired = path, true
	}
	return src
}

// File is the sources that an env file alone makes.
func File(path string) Sources { return Sources{DotEnvPath: path, DotEnvRequired: true} }

// With returns the sources with values above everything else, by variable name,
// in place of files that the environment names for them. An empty value takes the
// variable out of the environment.
func (s Sources) With(overrides map[string]string) Sources {
	environ := slices.DeleteFunc(slices.Clone(s.Environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := overrides[name]
		_, replacedFile := overrides[strings.TrimSuffix(name, schema.FileSuffix)]
		return replaced || replacedFile
	})
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		environ = append(environ, name+"="+overrides[name])
	}
	s.Environ = environ
	return s
}

// ForProduction returns the sources as they would be in production: what a
// service says to them has to be changed first.
func (s Sources) ForProduction() Sources {
	return s.With(map[string]string{EnvironmentVariable: Production})
}

// layer is what one source says about a setting.
type layer struct {
	source configv1.ConfigSource
	// origin is the variable's name, or a file's path, absolute: who asks is in
	// another folder than the service.
	origin string
	// where says in words where the value is, for example "in the environment".
	where string
	value string
}

// reader finds the layers of settings.
type reader struct {
	environ, embedded map[string]string
	dotEnv            *dotEnv
	problem           func(Problem)
	finding           func(code, env, message string)
	// stamps are the files that were read, or would have been if they were there.
	stamps stamps
}

func newReader(src Sources, problem func(Problem), finding func(code, env, message string)) *reader {
	r := &reader{environ: map[string]string{}, embedded: src.Embedded, dotEnv: &dotEnv{}, problem: problem, finding: finding}
	for _, pair := range src.Environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			r.environ[name] = value
		}
	}
	if src.DotEnvPath == "" || src.DotEnvPath == os.DevNull {
		return r
	}
	r.stamps.add(src.DotEnvPath)
	var complaint Problem
	if r.dotEnv, complaint = readDotEnv(src.DotEnvPath, src.DotEnvRequired); complaint.Message != "" {
		r.stamps.doubt()
		problem(complaint)
	}
	if writableByAll(src.DotEnvPath) {
		finding(FindingFilePermissions, "", "the file "+printable(src.DotEnvPath)+" can be written by everyone on this machine: chmod o-w the file")
	}
	for i, line := range r.dotEnv.malformed {
		where, more := r.dotEnv.at(line), len(r.dotEnv.malformed)-i
		if i >= maxMalformed {
			where = fmt.Sprintf("%d more lines of %s", more, printable(r.dotEnv.path))
		}
		problem(Problem{
			Message: "expected NAME=value, a comment or an empty line",
			Where:   where,
			Fix:     "correct the line, or put a # before it; a value with a quote or line break in it needs quotes around it",
		})
		if i >= maxMalformed {
			break
		}
	}
	return r
}

// layers returns what each source says, highest precedence first. The default is
// in environment notation, nil when there is none.
func (r *reader) layers(s *schema.Setting, byDefault *string) []layer {
	var out []layer
	add := func(l layer, ok bool) {
		if ok {
			out = append(out, l)
		}
	}
	add(r.find(s, r.environ, configv1.ConfigSource_CONFIG_SOURCE_ENVIRONMENT))
	if s.IsSecret() {
		file, ok := r.file(s, r.environ)
		if !ok {
			file, ok = r.file(s, r.dotEnv.values)
		}
		add(file, ok)
	}
	add(r.find(s, r.dotEnv.values, configv1.ConfigSource_CONFIG_SOURCE_DOTENV))
	add(r.find(s, r.embedded, configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED))
	if byDefault != nil {
		out = append(out, layer{configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, s.GetEnv(), "by default", *byDefault})
	}
	return out
}

// find looks for a setting by all its names in one source.
func (r *reader) find(s *schema.Setting, values map[string]string, source configv1.ConfigSource) (layer, bool) {
	var found layer
	var as string // the name that it has there
	for _, name := range s.Names() {
		value := values[name]
		if strings.TrimSpace(value) == "" {
			if source == configv1.ConfigSource_CONFIG_SOURCE_DOTENV && r.dotEnv.cut[name] && r.environ[name] == "" {
				r.lostReference(s, name)
			}
			continue
		}
		if as == "" {
			found, as = r.layer(s, name, value, source), name
		} else if !s.Agree(value, found.value) {
			r.problem(Problem{
				Env: s.GetEnv(), Where: found.where,
				Message: "it and " + name + ", another name for it, are set to different values",
				Fix:     "unset " + name,
			})
		}
	}
	if as != "" && as != s.GetEnv() {
		r.finding(FindingAliasUsed, s.GetEnv(), "is set as "+as+", another name for it: prefer "+s.GetEnv())
	}
	return found, as != ""
}

func (r *reader) layer(s *schema.Setting, name, value string, source configv1.ConfigSource) layer {
	l := layer{source: source, origin: name, value: value}
	switch source {
	case configv1.ConfigSource_CONFIG_SOURCE_DOTENV:
		l.origin, l.where = absolute(r.dotEnv.path), "in "+r.dotEnv.at(r.dotEnv.lines[name])
		if r.dotEnv.duplicates[name] {
			r.finding(FindingDuplicate, s.GetEnv(), "is set several times in "+printable(r.dotEnv.path)+", and the last one, "+
				l.where+", is used: remove the others")
		}
		if r.dotEnv.cut[name] {
			r.lostReference(s, name)
		}
	case configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED:
		l.where = "supplied by poco up"
	default:
		l.where = "in the environment"
	}
	if name != s.GetEnv() {
		l.where = "set as " + name + " " + l.where
	}
	return l
}

// lostReference tells that .env has a value of which something is missing.
func (r *reader) lostReference(s *schema.Setting, name string) {
	r.finding(FindingLostReference, s.GetEnv(), "lost a part of its value in "+r.dotEnv.at(r.dotEnv.lines[name])+
		": a $ begins the name of a variable there, and no earlier line sets that one; in single quotes, a $ is just a $")
}

// file reads a secret from the file that NAME_FILE names.
func (r *reader) file(s *schema.Setting, values map[string]string) (layer, bool) {
	var named, file string
	for _, name := range s.FileNames() {
		path := strings.TrimSpace(values[name])
		switch {
		case path == "":
		case named == "":
			named, file = name, path
		case path != file:
			r.problem(Problem{Env: s.GetEnv(), Message: "both " + named + " and " + name + " are set", Fix: "unset one of them"})
			return layer{}, false
		}
	}
	if named == "" {
		return layer{}, false
	}
	for _, name := range s.Names() {
		if strings.TrimSpace(values[name]) != "" {
			r.problem(Problem{Env: s.GetEnv(), Message: "both " + name + " and " + named + " are set", Fix: "unset one of them"})
			return layer{}, false
		}
	}
	where := "in the file that " + named + " names"
	r.stamps.add(file)
	value, err := readSecretFile(file)
	if err != nil {
		complaint, fix := fileComplaint(err)
		r.stamps.doubt()
		r.problem(Problem{Env: s.GetEnv(), Message: "the file that " + named + " names " + complaint, Fix: fix})
		return layer{}, false
	}
	if exposed := exposure(file); exposed != "" {
		r.finding(FindingFilePermissions, s.GetEnv(), "is "+where+", which "+exposed)
	}
	return layer{source: configv1.ConfigSource_CONFIG_SOURCE_FILE, origin: absolute(file), where: where, value: value}, true
}

// absolute is a path that means the same in every folder.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// printable is a text from outside, such as a path, as a message may hold it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
