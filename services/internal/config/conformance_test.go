package config_test

import (
	"encoding/csv"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

// required are values for what the services need to start.
var required = map[string]map[string]string{
	"backend": {
		"DATABASE_URL": "postgres://poco:Tr0ub4dor@db:5432/poco", "SECRET_KEY": own, "INTERNAL_API_TOKEN": own,
		"S3_ENDPOINT": "http://s3:9000", "S3_ACCESS_KEY": "access", "S3_SECRET_KEY": own, "S3_BUCKET": "poco",
	},
	"manager": {
		"BACKEND_URL": "http://backend:8000", "CALLBACK_BASE_URL": "http://manager:8001", "INTERNAL_API_TOKEN": own, "WORKSPACE_ROOT": "/srv/poco",
		"S3_ENDPOINT": "http://s3:9000", "S3_ACCESS_KEY": "access", "S3_SECRET_KEY": own, "S3_BUCKET": "poco",
	},
	"executor": {"EXECUTOR_TOKEN": own, "DEFAULT_MODEL": "claude"},
	"frontend": {"BACKEND_URL": "http://backend:8000"},
	"stack":    {"S3_ACCESS_KEY": "access", "S3_SECRET_KEY": own},
}

// variable is a line of the list of variables that every deployment may rely
// on.
type variable struct {
	service, name, byDefault string
	required                 bool
	// secret is "yes", "no", or "url" for a password inside.
	secret  string
	aliasOf string
}

func variables(t *testing.T) []variable {
	t.Helper()
	f, err := os.Open("testdata/variables.csv")
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	var out []variable
	for _, row := range rows[1:] {
		out = append(out, variable{row[0], row[1], row[2], row[3] == "yes", row[4], row[5]})
	}
	require.Len(t, out, 84)
	return out
}

// TestConformance: each variable of the list exists in the right service, with
// that default and secrecy, and setting it in any way changes the value in use.
func TestConformance(t *testing.T) {
	for _, v := range variables(t) {
		t.Run(v.service+" "+v.name, func(t *testing.T) {
			env := v.name
			if v.aliasOf != "" {
				env = v.aliasOf
			}
			s := setting(t, v.service, env)
			if v.aliasOf != "" {
				require.Contains(t, s.GetAliases(), v.name)
			}
			require.Equal(t, v.secret != "no", s.IsSecret())
			require.Equal(t, v.secret == "url", s.GetSecretUrl())
			require.Equal(t, v.required, s.GetRequired() && v.aliasOf == "")

			unset := loadWith(t, v.service, env, config.Sources{})
			if unset == nil {
				require.True(t, s.GetRequired() || s.GetTogether() != "", "it is not required")
			} else if v.aliasOf == "" {
				f := field(t, unset.Report(), env)
				require.Equal(t, v.byDefault, f.GetDefaultValue())
				if v.byDefault != "" {
					require.Equal(t, configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, f.GetSource())
				}
				if !s.IsSecret() {
					require.Equal(t, v.byDefault, f.GetValue())
				}
			}

			value := another(s)
			inForce := func(src config.Sources, source configv1.ConfigSource) {
				t.Helper()
				l := loadWith(t, v.service, env, src)
				require.NotNil(t, l)
				f := field(t, l.Report(), env)
				require.Equal(t, source, f.GetSource())
				require.True(t, f.GetIsSet())
				if s.IsSecret() {
					require.Equal(t, value, l.Secret(env).Reveal())
					require.NotContains(t, f.String(), "another")
					return
				}
				require.Equal(t, value, f.GetValue())
				require.NotEqual(t, v.byDefault, f.GetValue())
			}
			inForce(config.Sources{Environ: []string{v.name + "=" + value}}, configv1.ConfigSource_CONFIG_SOURCE_ENVIRONMENT)
			inForce(config.Sources{DotEnvPath: write(t, ".env", v.name+"='"+value+"'\n")}, configv1.ConfigSource_CONFIG_SOURCE_DOTENV)
			if s.IsSecret() {
				inForce(config.Sources{Environ: []string{v.name + "_FILE=" + write(t, "secret", value+"\n")}}, configv1.ConfigSource_CONFIG_SOURCE_FILE)
			}
		})
	}
}

func setting(t *testing.T, service, env string) *schema.Setting {
	t.Helper()
	settings := named(t, service).Settings()
	i := slices.IndexFunc(settings, func(s *schema.Setting) bool { return s.GetEnv() == env })
	require.GreaterOrEqual(t, i, 0, "%s has no setting %s", service, env)
	return settings[i]
}

func named(t *testing.T, service string) schema.Service {
	t.Helper()
	s, ok := schema.Named(service)
	require.True(t, ok, service)
	return s
}

// loadWith loads a service with all it needs but one variable, which the
// sources may have; nil when that is refused for lack of the variable.
func loadWith(t *testing.T, service, env string, src config.Sources) *config.Loaded[proto.Message] {
	t.Helper()
	for name, value := range required[service] {
		if name != env {
			src.Environ = append(src.Environ, name+"="+value)
		}
	}
	l, err := config.Load(named(t, service).Message, service, src)
	if err != nil {
		var problems *config.Problems
		require.ErrorAs(t, err, &problems)
		require.Len(t, problems.List, 1, err)
		require.Equal(t, env, problems.List[0].Env)
		require.Contains(t, problems.List[0].Message, "not set", err)
		return nil
	}
	return l
}

// another is a valid value that is not the default.
func another(s *schema.Setting) string {
	for _, choice := range s.Choices() {
		if choice != s.GetDefault() {
			return choice
		}
	}
	switch s.Kind {
	case schema.Bool:
		return strconv.FormatBool(s.GetDefault() != "true")
	case schema.Integer, schema.Size, schema.Number, schema.Duration:
		n, err := strconv.Atoi(s.GetDefault())
		if err != nil {
			return "7"
		}
		return strconv.Itoa(n + 1)
	default:
	}
	switch s.GetFormat() {
	case configv1.Format_FORMAT_HTTP_URL, configv1.Format_FORMAT_ORIGIN:
		return "http://another.example:8080"
	case configv1.Format_FORMAT_POSTGRES_URL:
		return "postgres://poco:another@elsewhere.example/poco"
	case configv1.Format_FORMAT_ABSOLUTE_PATH:
		return "/srv/another"
	default:
		return strings.Repeat("another-", 4) + "value"
	}
}
