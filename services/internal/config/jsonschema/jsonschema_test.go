package jsonschema_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/jsonschema"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

func compile(t *testing.T, service schema.Service) *validator.Schema {
	t.Helper()
	data, err := jsonschema.Of(service)
	require.NoError(t, err)
	document, err := validator.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	c := validator.NewCompiler()
	c.AssertVocabs()
	require.NoError(t, c.AddResource("schema.json", document))
	// Compiling checks the document against the dialect's own schema.
	compiled, err := c.Compile("schema.json")
	require.NoError(t, err)
	require.Equal(t, 2020, compiled.DraftVersion)
	return compiled
}

// good returns texts that a setting takes, and bad ones that it does not.
func examples(s *schema.Setting) (good, bad []string) {
	switch s.GetFormat() {
	case configv1.Format_FORMAT_HTTP_URL:
		return []string{"http://localhost:8000", "HTTPS://a.example/b", " http://[::1]:1/ ", "http://10.0.0.1"},
			[]string{"localhost:8000", "nowhere", "ftp://h", "http://", "http://h?a=b", "http://h/#x"}
	case configv1.Format_FORMAT_ORIGIN:
		return []string{"http://localhost:3000", " https://a.example , http://b \n http://c,", `["http://a", "https://b:1"]`},
			[]string{"localhost", "http://a,b", "http://a/path", "*"}
	case configv1.Format_FORMAT_HOST:
		good, bad = []string{"localhost", "0.0.0.0", "::1", " db_1.internal "}, []string{"http://h", "h:8000", "a b", "-"}
		if s.Kind == schema.List {
			good = append(good, "127.0.0.1,::1", `["a","b"]`)
			bad = append(bad, "127.0.0.1:1,b")
		}
		return good, bad
	case configv1.Format_FORMAT_POSTGRES_URL:
		return []string{"postgres://u:p@h:5432/d?sslmode=disable", "postgresql://u@h/d", "host=h user=u dbname=d"}, []string{"mysql://h/d", "h:5432"}
	case configv1.Format_FORMAT_ABSOLUTE_PATH:
		return []string{"/a/b c", " /a"}, []string{"a/b", "./a", "~"}
	case configv1.Format_FORMAT_IMAGE:
		return []string{"rustfs/rustfs:latest", "localhost:5000/a/b:1.0@sha256:" + strings.Repeat("a", 64)}, []string{"a b", "$IMAGE"}
	default:
		return examplesOfKind(s)
	}
}

func examplesOfKind(s *schema.Setting) (good, bad []string) {
	r := s.Range()
	inside := "100"
	if r.Max != nil && *r.Max < 100 {
		inside = "20"
	}
	switch s.Kind {
	case schema.Bool:
		return []string{"true", "False", "1", "off", " YES "}, []string{"maybe", "2", "truee"}
	case schema.Integer, schema.Size:
		good, bad = []string{inside, "+" + inside, " " + inside + " ", "00" + inside, "0", "-0"}, []string{"many", "1.5", "10MB", "0x10", "1_000"}
		if r.Min != nil {
			good, bad = append(good, number(*r.Min)), append(bad, number(*r.Min-1))
		}
		if r.Max != nil {
			good, bad = append(good, number(*r.Max)), append(bad, number(*r.Max+1))
		}
		return good, bad
	case schema.Number, schema.Duration:
		good, bad = []string{inside, inside + ".5", "1e2", ".5", "1.", "0", "-0", "0.0", "-.0e5"}, []string{"much", "5s", "0x1p4", "Inf", "1,5", ".", "e5"}
		switch {
		case r.Min != nil && r.MinExclusive:
			bad = append(bad, "-1", "0", "0.000")
		case r.Min != nil:
			bad = append(bad, "-1", "-.5")
		}
		return good, bad
	case schema.List:
		return []string{"a.example, b.example", "a\nb", `["a"]`}, nil
	default:
	}
	if words := s.Choices(); len(words) > 0 {
		return append(words, strings.ToLower(words[0]), " "+strings.ToUpper(words[0])), []string{"no-such-choice", words[0] + "x"}
	}
	rules := s.TextRules()
	if rules.GetIp() {
		return []string{"127.0.0.1", "::1"}, []string{"localhost", "127.0.0.1:80"}
	}
	good = []string{"some text"}
	if n := rules.GetMaxLen(); n > 0 {
		bad = append(bad, strings.Repeat("x", int(n)+1))
	}
	if n := rules.GetMinLen(); n > 1 {
		bad = append(bad, strings.Repeat("x", int(n)-1))
	}
	return good, bad
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// base is an environment in which everything required is set.
func base(service schema.Service) map[string]string {
	environ := map[string]string{}
	for _, s := range service.Settings() {
		if s.GetRequired() || s.GetTogether() != "" {
			good, _ := examples(s)
			environ[s.GetEnv()] = good[0]
		}
	}
	return environ
}

// loads tells whether the service's own loader takes an environment.
func loads(service schema.Service, environ map[string]string) bool {
	var pairs []string
	for name, value := range environ {
		pairs = append(pairs, name+"="+value)
	}
	_, err := config.Load(proto.Clone(service.Message), service.Name, config.Sources{Environ: pairs})
	return err == nil
}

// document is an environment as JSON.
func document(environ map[string]string) map[string]any {
	out := map[string]any{}
	for name, value := range environ {
		out[name] = value
	}
	return out
}

func with(environ map[string]string, name, value string) map[string]string {
	out := maps.Clone(environ)
	out[name] = value
	return out
}

func TestAgreesWithTheLoader(t *testing.T) {
	for _, service := range schema.Services() {
		t.Run(service.Name, func(t *testing.T) {
			compiled := compile(t, service)
			environ := base(service)
			require.True(t, loads(service, environ))
			require.NoError(t, compiled.Validate(document(environ)))
			require.NoError(t, compiled.Validate(document(with(environ, "UNRELATED", "x"))))
			for _, s := range service.Settings() {
				good, bad := examples(s)
				for _, name := range append([]string{s.GetEnv()}, s.GetAliases()...) {
					for _, value := range append(good, "", " ") {
						changed := with(environ, name, value)
						if name != s.GetEnv() {
							delete(changed, s.GetEnv())
						}
						// A rule about several settings may refuse what is good alone.
						if loads(service, changed) {
							require.NoError(t, compiled.Validate(document(changed)), "%s=%q", name, value)
						} else if s.GetRequired() && strings.TrimSpace(value) == "" {
							require.Error(t, compiled.Validate(document(changed)), "%s=%q", name, value)
						}
					}
					for _, value := range bad {
						changed := with(environ, name, value)
						require.False(t, loads(service, changed), "%s=%q", name, value)
						require.Error(t, compiled.Validate(document(changed)), "%s=%q", name, value)
					}
				}
			}
		})
	}
}

func TestRequired(t *testing.T) {
	for _, service := range schema.Services() {
		compiled := compile(t, service)
		environ := base(service)
		for _, s := range service.Settings() {
			name := s.GetEnv()
			changed := maps.Clone(environ)
			delete(changed, name)
			if s.Default == nil && (s.GetRequired() || s.GetTogether() != "") {
				require.False(t, loads(service, changed), name)
				require.Error(t, compiled.Validate(document(changed)), name)
			}
			for _, alias := range s.GetAliases() {
				good, _ := examples(s)
				renamed := with(changed, alias, good[0])
				require.True(t, loads(service, renamed), alias)
				require.NoError(t, compiled.Validate(document(renamed)), alias)
			}
			if !s.IsSecret() {
				continue
			}
			good, _ := examples(s)
			path := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(path, []byte(good[0]), 0o600))
			inFile := with(changed, name+"_FILE", path)
			require.True(t, loads(service, inFile), name)
			require.NoError(t, compiled.Validate(document(inFile)), name)
			both := with(inFile, name, good[0])
			require.False(t, loads(service, both), name)
			require.Error(t, compiled.Validate(document(both)), name)
		}
	}
}

// TestNativeTypes is about values as YAML reads them.
func TestNativeTypes(t *testing.T) {
	backend, manager := schema.Services()[0], schema.Services()[1]
	for _, test := range []struct {
		service schema.Service
		name    string
		value   any
		ok      bool
	}{
		{backend, "PORT", 8000, true},
		{backend, "PORT", 70000, false},
		{backend, "PORT", -1, false},
		{backend, "PORT", 80.5, false},
		{backend, "PORT", true, false},
		{backend, "DEBUG", true, true},
		{backend, "DEBUG", 1, true},
		{backend, "DEBUG", 2, false},
		{backend, "UVICORN_ACCESS_LOG", false, true},
		{backend, "UVICORN_ACCESS_LOG", "maybe", false},
		{backend, "DB_WAIT_TIMEOUT_SECONDS", 1.5, true},
		{backend, "DB_WAIT_TIMEOUT_SECONDS", -1, false},
		{backend, "S3_PRESIGN_EXPIRES", 0, false},
		{backend, "MAX_UPLOAD_SIZE_MB", 0, false},
		{backend, "CORS_ORIGINS", []any{"http://a", "http://b"}, true},
		{backend, "CORS_ORIGINS", []any{"http://a/b"}, false},
		{backend, "CORS_ORIGINS", []any{1}, false},
		{backend, "S3_BUCKET", "ab", false},
		{backend, "HOST", 1, false},
		{manager, "RUN_MAX_EVENT_KB", 16, true},
		{manager, "RUN_MAX_EVENT_KB", 15, false},
		{manager, "EXECUTOR_CPUS", 0.5, true},
	} {
		environ := document(base(test.service))
		environ[test.name] = test.value
		err := compile(t, test.service).Validate(environ)
		require.Equal(t, test.ok, err == nil, "%s=%v: %v", test.name, test.value, err)
	}
}

func TestSecretsAreWriteOnly(t *testing.T) {
	for _, service := range schema.Services() {
		compiled := compile(t, service)
		for _, s := range service.Settings() {
			p := compiled.Properties[s.GetEnv()]
			require.NotNil(t, p, s.GetEnv())
			require.Equal(t, s.IsSecret(), p.WriteOnly, s.GetEnv())
			require.NotEmpty(t, p.Description, s.GetEnv())
			for _, alias := range s.GetAliases() {
				require.True(t, compiled.Properties[alias].Deprecated, alias)
			}
		}
	}
}

// TestNoneTogether: what belongs together may be missing altogether.
func TestNoneTogether(t *testing.T) {
	for _, service := range schema.Services() {
		environ := base(service)
		for _, s := range service.Settings() {
			if s.GetTogether() != "" && !s.GetRequired() {
				delete(environ, s.GetEnv())
			}
		}
		require.True(t, loads(service, environ), service.Name)
		require.NoError(t, compile(t, service).Validate(document(environ)), service.Name)
	}
}
