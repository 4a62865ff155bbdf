package configview

import (
	"slices"
	"strings"

	"github.com/poco-ai/poco/services/internal/config/schema"
)

// fileSuffix ends the name of the variable that names a secret's file.
const fileSuffix = "_FILE"

// Reader is a service that reads a variable.
type Reader struct {
	Service string
	Setting *schema.Setting
}

// Readers finds who reads a variable, by any of its names and in any case. env
// is its name in the schema.
func Readers(name string) (env string, readers []Reader) {
	name = strings.ToUpper(strings.TrimSpace(name))
	for _, names := range []func(*schema.Setting) []string{ownName, aliases, fileNames} {
		for _, service := range schema.Services() {
			for _, setting := range service.Settings() {
				if slices.Contains(names(setting), name) && (env == "" || env == setting.GetEnv()) {
					env = setting.GetEnv()
				}
			}
		}
		if env != "" {
			break
		}
	}
	if env == "" {
		return "", nil
	}
	for _, service := range schema.Services() {
		for _, setting := range service.Settings() {
			if setting.GetEnv() == env {
				readers = append(readers, Reader{service.Name, setting})
			}
		}
	}
	return env, readers
}

func ownName(s *schema.Setting) []string { return []string{s.GetEnv()} }

func aliases(s *schema.Setting) []string { return s.GetAliases() }

func fileNames(s *schema.Setting) []string {
	if !s.IsSecret() {
		return nil
	}
	names := []string{s.GetEnv() + fileSuffix}
	for _, alias := range s.GetAliases() {
		names = append(names, alias+fileSuffix)
	}
	return names
}
