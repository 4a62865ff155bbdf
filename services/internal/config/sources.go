package config

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/joho/godotenv"

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
	// fileSuffix makes the name of the variable that names a secret's file.
	fileSuffix = "_FILE"
	// maxFileSize bounds a secret's file.
	maxFileSize = 1 << 20
)

// Sources is where settings are read from. An empty value counts as none, as
// it does in compose files that pass variables on.
type Sources struct {
	// Environ has the form of os.Environ().
	Environ []string
	// DotEnvPath is read when the file exists; empty reads none.
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

// layer is what one source says about a setting.
type layer struct {
	source configv1.ConfigSource
	// name is the variable: the setting's name or an alias.
	name string
	// origin is the variable's name, or a file's path.
	origin string
	value  string
}

// where says in a message where a layer comes from.
func (l layer) where() string {
	switch l.source {
	case configv1.ConfigSource_CONFIG_SOURCE_DOTENV:
		return "in " + l.origin
	case configv1.ConfigSource_CONFIG_SOURCE_FILE:
		return "in the file of " + l.name + fileSuffix
	case configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED:
		return "supplied by poco up"
	case configv1.ConfigSource_CONFIG_SOURCE_DEFAULT:
		return "by default"
	default:
		return "in the environment"
	}
}

// reader finds the layers of settings.
type reader struct {
	environ, dotEnv, embedded map[string]string
	dotEnvPath                string
	problem                   func(env, message string)
	finding                   func(code, env, message string)
	// stamps are the files that were read, or would have been if they were there.
	stamps stamps
}

func newReader(src Sources, problem func(env, message string), finding func(code, env, message string)) *reader {
	r := &reader{environ: map[string]string{}, embedded: src.Embedded, dotEnvPath: src.DotEnvPath, problem: problem, finding: finding}
	for _, pair := range src.Environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			r.environ[name] = value
		}
	}
	if src.DotEnvPath == "" {
		return r
	}
	r.stamps.add(src.DotEnvPath)
	values, err := godotenv.Read(src.DotEnvPath)
	switch {
	case err == nil:
		r.dotEnv = values
	case errors.Is(err, fs.ErrNotExist) && !src.DotEnvRequired:
	case errors.Is(err, fs.ErrNotExist):
		problem(envFileVariable, "the file "+src.DotEnvPath+" does not exist: create it, or unset "+envFileVariable)
	case errors.Is(err, fs.ErrPermission):
		problem("", "the file "+src.DotEnvPath+" may not be read: allow it, or remove the file")
	default:
		// The parser's error would repeat a line of the file.
		problem("", "the file "+src.DotEnvPath+" cannot be read: every line has to be NAME=value, a comment or empty")
	}
	return r
}

// layers returns what each source says, highest precedence first. The default is
// in environment notation, nil when there is none.
func (r *reader) layers(s *schema.Setting, byDefault *string) []layer {
	names := append([]string{s.GetEnv()}, s.GetAliases()...)
	var out []layer
	add := func(l layer, ok bool) {
		if ok {
			out = append(out, l)
		}
	}
	add(r.find(s, names, r.environ, configv1.ConfigSource_CONFIG_SOURCE_ENVIRONMENT))
	if s.IsSecret() {
		add(r.file(s, names, r.environ))
	}
	add(r.find(s, names, r.dotEnv, configv1.ConfigSource_CONFIG_SOURCE_DOTENV))
	if s.IsSecret() && !hasSource(out, configv1.ConfigSource_CONFIG_SOURCE_FILE) {
		add(r.file(s, names, r.dotEnv))
	}
	add(r.find(s, names, r.embedded, configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED))
	if byDefault != nil {
		out = append(out, layer{configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, s.GetEnv(), s.GetEnv(), *byDefault})
	}
	sortLayers(out)
	return out
}

func hasSource(layers []layer, source configv1.ConfigSource) bool {
	for _, l := range layers {
		if l.source == source {
			return true
		}
	}
	return false
}

// sortLayers puts the highest precedence first; the order of the enum is the
// order of precedence.
func sortLayers(layers []layer) {
	for i := 1; i < len(layers); i++ {
		for j := i; j > 0 && layers[j].source > layers[j-1].source; j-- {
			layers[j], layers[j-1] = layers[j-1], layers[j]
		}
	}
}

// find looks for a setting by all its names in one source.
func (r *reader) find(s *schema.Setting, names []string, values map[string]string, source configv1.ConfigSource) (layer, bool) {
	var found layer
	ok := false
	for _, name := range names {
		value := values[name]
		if strings.TrimSpace(value) == "" {
			continue
		}
		if ok {
			if value != found.value {
				r.problem(s.GetEnv(), "it and "+name+" are set to different values: unset "+name)
			}
			continue
		}
		found, ok = layer{source: source, name: name, origin: name, value: value}, true
		if source == configv1.ConfigSource_CONFIG_SOURCE_DOTENV {
			found.origin = r.dotEnvPath
		}
	}
	if ok && found.name != s.GetEnv() {
		r.finding(FindingAliasUsed, s.GetEnv(), "set as "+found.name+", another name for it: prefer "+s.GetEnv())
	}
	return found, ok
}

// file reads a secret from the file that NAME_FILE names.
func (r *reader) file(s *schema.Setting, names []string, values map[string]string) (layer, bool) {
	for _, name := range names {
		path := strings.TrimSpace(values[name+fileSuffix])
		if path == "" {
			continue
		}
		if strings.TrimSpace(values[name]) != "" {
			r.problem(s.GetEnv(), "both "+name+" and "+name+fileSuffix+" are set: unset one of them")
			return layer{}, false
		}
		r.stamps.add(path)
		value, complaint := readSecretFile(path)
		if complaint != "" {
			// Without the path: it may be the secret, set under the wrong name.
			r.problem(s.GetEnv(), "the file that "+name+fileSuffix+" names "+complaint)
			return layer{}, false
		}
		return layer{source: configv1.ConfigSource_CONFIG_SOURCE_FILE, name: name, origin: path, value: value}, true
	}
	return layer{}, false
}

func readSecretFile(path string) (value, complaint string) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "does not exist: create it, or correct the path"
	case err != nil:
		return "", "cannot be opened: check its permissions"
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	switch {
	case err != nil:
		return "", "cannot be read: it has to be a regular file"
	case len(data) > maxFileSize:
		return "", "is larger than 1 MiB: it has to hold the secret alone"
	}
	value = strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return "", "is empty: write the secret into it"
	}
	return value, ""
}
