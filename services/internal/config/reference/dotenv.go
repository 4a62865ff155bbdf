package reference

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/joho/godotenv"

	"github.com/poco-ai/poco/services/internal/config/schema"
)

// DotEnv writes a .env file with every variable of the services: those in values
// with their value, the others commented out with their default. What is
// required comes first, the rest by section. The file reads the same to
// Poco, to compose and to a shell, as long as its values are on one line.
func DotEnv(w io.Writer, services []schema.Service, values map[string]string) error {
	f := &dotEnvFile{values: values, readers: readers(services), written: map[string]bool{}}
	groups := sections(services)
	f.heading("Required", nil)
	for _, group := range groups {
		for _, s := range group.settings {
			if isRequired(s) {
				f.setting(s)
			}
		}
	}
	for _, group := range groups {
		if slices.ContainsFunc(group.settings, func(s *schema.Setting) bool { return !f.written[s.GetEnv()] }) {
			title, _ := schema.English.Section(group.group)
			f.heading(title, group.services)
		}
		for _, s := range group.settings {
			f.setting(s)
		}
	}
	if f.err != nil {
		return f.err
	}
	_, err := w.Write(f.Bytes())
	return err
}

// Examples are values for what the services require, fit for trying the compose
// stack out: secrets say that they have to be changed.
func Examples(services []schema.Service) map[string]string {
	values := map[string]string{}
	for _, service := range services {
		for _, s := range service.Settings() {
			if isRequired(s) {
				values[s.GetEnv()] = s.GetExample()
			}
		}
	}
	return values
}

// isRequired tells whether a setting has to be set by someone.
func isRequired(s *schema.Setting) bool { return s.GetRequired() && s.Default == nil }

// dotEnvFile is a .env file in the making.
type dotEnvFile struct {
	bytes.Buffer
	values  map[string]string
	readers map[string][]string
	written map[string]bool
	err     error
}

func (f *dotEnvFile) heading(title string, services []string) {
	if f.Len() > 0 {
		f.WriteByte('\n')
	}
	if len(services) > 0 {
		title += " (" + strings.Join(services, ", ") + ")"
	}
	fmt.Fprintf(f, "# ---- %s ----\n", title)
}

// setting writes a variable, once.
func (f *dotEnvFile) setting(s *schema.Setting) {
	name := s.GetEnv()
	if f.written[name] {
		return
	}
	f.written[name] = true
	fmt.Fprintf(f, "# %s\n", f.comment(s))
	mark := ""
	value, ok := f.values[name]
	if !ok {
		mark, value = "#", s.GetExample()
		if s.Default != nil {
			value = s.GetDefault()
		}
	}
	quoted, err := quote(value)
	if err != nil {
		f.err = errors.Join(f.err, fmt.Errorf("%s: %w", name, err))
	}
	fmt.Fprintf(f, "%s%s=%s\n", mark, name, quoted)
}

// comment is one line about a setting.
func (f *dotEnvFile) comment(s *schema.Setting) string {
	line := s.Summary() + "."
	if expected := s.Expected(); s.Kind != schema.Bool && expected != "a value" {
		line += " " + strings.ToUpper(expected[:1]) + expected[1:] + "."
	}
	if fallback := schema.English.Fallback(s); fallback != "" {
		line += " Unset: " + fallback + "."
	}
	if s.GetNoEffect() {
		line += " No effect in this version."
	}
	return line
}

// quote writes a value so that compose, shells and Poco read it alike.
func quote(value string) (string, error) {
	switch {
	case !strings.ContainsAny(value, " \t\r\n#$'\"\\`!&;|<>()*?~"):
		return value, nil
	case !strings.ContainsAny(value, "'\r\n"):
		return "'" + value + "'", nil
	default:
		// Only what single quotes cannot hold needs escapes.
		line, err := godotenv.Marshal(map[string]string{"V": value})
		return strings.TrimPrefix(line, "V="), err
	}
}
