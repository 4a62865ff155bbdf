package configview

import (
	"slices"
	"strings"

	"github.com/poco-ai/poco/services/internal/config/schema"
)

// Reader is a service that reads a variable.
type Reader struct {
	Service string
	Setting *schema.Setting
}

// Readers finds who reads a variable, by any of its names and in any case: a
// setting's own name goes before another's alias. env is its name in the schema.
func Readers(name string) (env string, readers []Reader) {
	name = strings.ToUpper(strings.TrimSpace(name))
	for _, service := range schema.Services() {
		for _, setting := range service.Settings() {
			readers = append(readers, Reader{service.Name, setting})
		}
	}
	i := slices.IndexFunc(readers, func(r Reader) bool { return r.Setting.GetEnv() == name })
	if i < 0 {
		i = slices.IndexFunc(readers, func(r Reader) bool {
			return slices.Contains(r.Setting.GetAliases(), name) || slices.Contains(r.Setting.FileNames(), name)
		})
	}
	if i < 0 {
		return "", nil
	}
	env = readers[i].Setting.GetEnv()
	return env, slices.DeleteFunc(readers, func(r Reader) bool { return r.Setting.GetEnv() != env })
}
