package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

func backendEnv(extra ...string) []string {
	return append([]string{
		"DATABASE_URL=postgres://poco:Tr0ub4dor@db:5432/poco",
		"SECRET_KEY=0123456789",
		"INTERNAL_API_TOKEN=token-value",
		"S3_ENDPOINT=http://s3:9000",
		"S3_ACCESS_KEY=access",
		"S3_SECRET_KEY=s3-value",
		"S3_BUCKET=poco",
	}, extra...)
}

func loadBackend(t *testing.T, src config.Sources) *config.Loaded[*configv1.BackendConfig] {
	t.Helper()
	l, err := config.Load(&configv1.BackendConfig{}, "backend", src)
	require.NoError(t, err)
	return l
}

// problems returns the lines of the report on a configuration that is refused.
func problems(t *testing.T, src config.Sources) []string {
	t.Helper()
	_, err := config.Load(&configv1.BackendConfig{}, "backend", src)
	var p *config.Problems
	require.ErrorAs(t, err, &p)
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = problem.String()
	}
	return lines
}

func field(t *testing.T, r *configv1.GetConfigResponse, env string) *configv1.ConfigField {
	t.Helper()
	f := config.FieldOf(r, env)
	require.NotNil(t, f, "no field %s", env)
	return f
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func writeIn(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// requireMarshals makes sure that a message can be sent: its texts are UTF-8.
func requireMarshals(t *testing.T, msg proto.Message) {
	t.Helper()
	_, err := proto.Marshal(msg)
	require.NoError(t, err)
	_, err = protojson.Marshal(msg)
	require.NoError(t, err)
}

func TestDefaultsAndUnits(t *testing.T) {
	l := loadBackend(t, config.Sources{Environ: backendEnv("MAX_UPLOAD_SIZE_MB=3", "DB_WAIT_TIMEOUT_SECONDS=1.5", "LOG_LEVEL=debug", "DEBUG=1")})
	msg := l.Msg
	require.Equal(t, int32(8000), msg.GetServer().GetPort())
	require.Equal(t, []string{"http://localhost:3000", "http://127.0.0.1:3000"}, msg.GetServer().GetCorsOrigins())
	require.Equal(t, int64(3<<20), msg.GetServer().GetMaxUploadSize())
	require.Equal(t, 1500*time.Millisecond, msg.GetDatabase().GetWaitTimeout().AsDuration())
	require.Equal(t, "DEBUG", msg.GetLogging().GetLevel())
	require.True(t, msg.GetLogging().GetDebug())
	require.True(t, msg.GetDatabase().GetUrl().GetIsSet())
	require.Equal(t, "postgres://poco:Tr0ub4dor@db:5432/poco", l.Secret("DATABASE_URL").Reveal())
	require.False(t, l.Secret("OPENAI_API_KEY").IsSet())
	require.Panics(t, func() { l.Secret("PORT") })

	r := l.Report()
	require.Equal(t, "1.5", field(t, r, "DB_WAIT_TIMEOUT_SECONDS").GetValue())
	require.Equal(t, "3", field(t, r, "MAX_UPLOAD_SIZE_MB").GetValue())
	port := field(t, r, "PORT")
	require.Equal(t, "server.port", port.GetPath())
	require.Equal(t, "integer", port.GetType())
	require.Equal(t, "from 0 to 65535", port.GetConstraint())
	require.Equal(t, "Listen port; 0 takes a free one.", port.GetDescription())
	require.Equal(t, configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, port.GetSource())
	expires := field(t, r, "S3_PRESIGN_EXPIRES")
	require.Equal(t, []string{"300", "seconds", "from 1 to 604800"}, []string{expires.GetValue(), expires.GetUnit(), expires.GetConstraint()})
}

func TestSourcesInOrder(t *testing.T) {
	file := write(t, "secret", "from-file\r\n\n")
	dotEnv := write(t, ".env", "PORT=1002\nHOST=dotenv\nSECRET_KEY=from-dotenv\nS3_REGION=dotenv\n")
	environ := backendEnv("PORT=1001", "SECRET_KEY_FILE="+file, "S3_REGION=")
	environ = append(environ[:1], environ[2:]...) // without SECRET_KEY
	l := loadBackend(t, config.Sources{
		Environ: environ, DotEnvPath: dotEnv,
		Embedded: map[string]string{"PORT": "1003", "HOST": "embedded", "SECRET_KEY": "from-embedded", "OPENAI_DEFAULT_MODEL": "embedded"},
	})
	require.Equal(t, int32(1001), l.Msg.GetServer().GetPort())
	require.Equal(t, "dotenv", l.Msg.GetServer().GetHost())
	require.Equal(t, "from-file", l.Secret("SECRET_KEY").Reveal())
	require.Equal(t, "embedded", l.Msg.GetTitles().GetOpenaiDefaultModel())
	require.Equal(t, "dotenv", l.Msg.GetObjectStore().GetRegion(), "an empty variable counts as none")

	r := l.Report()
	var got []string
	for _, layer := range field(t, r, "PORT").GetLayers() {
		got = append(got, layer.GetSource().String()+" "+layer.GetOrigin()+" "+layer.GetValue())
	}
	require.Equal(t, []string{
		"CONFIG_SOURCE_ENVIRONMENT PORT 1001", "CONFIG_SOURCE_DOTENV " + dotEnv + " 1002",
		"CONFIG_SOURCE_EMBEDDED PORT 1003", "CONFIG_SOURCE_DEFAULT PORT 8000",
	}, got)
	secret := field(t, r, "SECRET_KEY")
	require.Equal(t, configv1.ConfigSource_CONFIG_SOURCE_FILE, secret.GetSource())
	require.Equal(t, file, secret.GetLayers()[0].GetOrigin())
	require.NotContains(t, r.String(), "from-")
}

// TestOverrides: a value above everything else is no conflict with a file.
func TestOverrides(t *testing.T) {
	file := write(t, "secret", "from-file")
	for _, src := range []config.Sources{
		{Environ: append(without(backendEnv(), "SECRET_KEY"), "SECRET_KEY_FILE="+file)},
		{Environ: without(backendEnv(), "SECRET_KEY"), DotEnvPath: write(t, ".env", "SECRET_KEY_FILE="+file+"\n")},
		{Environ: backendEnv()},
	} {
		l := loadBackend(t, src.With(map[string]string{"SECRET_KEY": "from-above"}))
		require.Equal(t, "from-above", l.Secret("SECRET_KEY").Reveal())
	}
}

// TestOriginsAreWhole: who reads a report is in another folder than the service.
func TestOriginsAreWhole(t *testing.T) {
	t.Chdir(t.TempDir())
	folder, err := os.Getwd()
	require.NoError(t, err)
	rewrite(t, "secret", "from-file")
	rewrite(t, ".env", "PORT=1002\nSECRET_KEY_FILE=secret\n")
	r := loadBackend(t, config.Sources{Environ: without(backendEnv(), "SECRET_KEY"), DotEnvPath: ".env"}).Report()
	require.Equal(t, filepath.Join(folder, ".env"), field(t, r, "PORT").GetLayers()[0].GetOrigin())
	require.Equal(t, filepath.Join(folder, "secret"), field(t, r, "SECRET_KEY").GetLayers()[0].GetOrigin())
}

func TestAllProblemsAtOnce(t *testing.T) {
	got := problems(t, config.Sources{Environ: []string{
		"PORT=70000", "DATABASE_MAX_CONNECTIONS=many", "CORS_ORIGINS=[1", "DEBUG=maybe", "LOG_LEVEL=LOUD",
		"S3_ENDPOINT=nowhere", "S3_PRESIGN_EXPIRES=0", "S3_BUCKET=ab", "DB_WAIT_TIMEOUT_SECONDS=1e300",
		"ACCESS_LOG=true", "UVICORN_ACCESS_LOG=false", "INTERNAL_API_TOKEN=a", "INTERNAL_API_TOKEN_FILE=/x",
		"SECRET_KEY_FILE=/does/not/exist", "MAX_UPLOAD_SIZE_MB=99999999999999",
	}})
	require.Equal(t, []string{
		"DEBUG, in the environment: expected true or false: correct the value, or leave it out for the default false",
		`LOG_LEVEL, in the environment: expected one of "DEBUG", "INFO", "WARNING", "ERROR": correct the value, or leave it out for the default INFO`,
		"ACCESS_LOG, in the environment: it and UVICORN_ACCESS_LOG, another name for it, are set to different values: unset UVICORN_ACCESS_LOG",
		"PORT, in the environment: expected a whole number, from 0 to 65535: correct the value, or leave it out for the default 8000",
		"CORS_ORIGINS, in the environment: expected values separated by commas, each an origin such as https://poco.example.com, without a path: correct the value, or leave it out for the default http://localhost:3000,http://127.0.0.1:3000",
		"MAX_UPLOAD_SIZE_MB, in the environment: expected a whole number of mebibytes, more than 0: correct the value, or leave it out for the default 100",
		"DATABASE_URL: is required and not set: set it, or DATABASE_URL_FILE to the path of a file that holds it (Postgres connection URL)",
		"DATABASE_MAX_CONNECTIONS, in the environment: expected a whole number, from 2 to 1000: correct the value, or leave it out for the default 15",
		"DB_WAIT_TIMEOUT_SECONDS, in the environment: expected a number of seconds, at least 0: correct the value, or leave it out for the default 60",
		"SECRET_KEY: the file that SECRET_KEY_FILE names does not exist: create it, or correct the path",
		"INTERNAL_API_TOKEN: both INTERNAL_API_TOKEN and INTERNAL_API_TOKEN_FILE are set: unset one of them",
		"S3_ENDPOINT, in the environment: expected a URL such as http://host:port: put http:// or https:// before it",
		"S3_ACCESS_KEY: is required and not set, unlike S3_ENDPOINT and S3_BUCKET, which cannot be used without it: set it, or S3_ACCESS_KEY_FILE to the path of a file that holds it (Access key of the object storage)",
		"S3_SECRET_KEY: is required and not set, unlike S3_ENDPOINT and S3_BUCKET, which cannot be used without it: set it, or S3_SECRET_KEY_FILE to the path of a file that holds it (Secret key of the object storage)",
		"S3_BUCKET, in the environment: expected 3 to 63 characters: correct the value",
		"S3_PRESIGN_EXPIRES, in the environment: expected a number of seconds, from 1 to 604800: correct the value, or leave it out for the default 300",
	}, got)
}

func TestMessageLevelRules(t *testing.T) {
	environ := []string{
		"BACKEND_URL=http://b", "CALLBACK_BASE_URL=http://m", "INTERNAL_API_TOKEN=t", "WORKSPACE_ROOT=/w",
		"S3_ENDPOINT=http://s3", "S3_ACCESS_KEY=a", "S3_SECRET_KEY=s", "S3_BUCKET=poco", "EXECUTOR_RUNTIME=docker",
	}
	_, err := config.Load(&configv1.ManagerConfig{}, "manager", config.Sources{Environ: environ})
	require.EqualError(t, err, `the configuration of the manager has 1 problem:

  1. EXECUTOR_IMAGE
     is required with EXECUTOR_RUNTIME=docker
     → set it to the executor image`)
	_, err = config.Load(&configv1.ManagerConfig{}, "manager", config.Sources{Environ: append(environ, "EXECUTOR_IMAGE=poco")})
	require.NoError(t, err)
}

// TestNoValueLeaks sets every variable to a marked value and looks for the mark
// wherever something is printed.
func TestNoValueLeaks(t *testing.T) {
	const mark = "s3cr3t-mark"
	dotEnv := write(t, ".env", "BROKEN LINE "+mark+"='x\n")
	values := []string{mark, "postgres://u:" + mark + "@h/d", "http://h:" + mark, "::" + mark, "\x7f" + mark, "{" + mark}
	for _, value := range values {
		var environ []string
		l := loadBackend(t, config.Sources{Environ: backendEnv()})
		for _, f := range l.Report().GetFields() {
			environ = append(environ, f.GetEnv()+"="+value)
		}
		for _, src := range []config.Sources{{Environ: environ}, {Environ: environ, DotEnvPath: dotEnv}} {
			_, err := config.Load(&configv1.BackendConfig{}, "backend", src)
			require.Error(t, err)
			require.NotContains(t, err.Error(), mark)
		}
	}
	secrets := backendEnv("OPENAI_API_KEY="+mark, "BROKEN="+mark)
	for i, pair := range secrets {
		name, _, _ := strings.Cut(pair, "=")
		switch name {
		case "SECRET_KEY", "INTERNAL_API_TOKEN", "S3_ACCESS_KEY", "S3_SECRET_KEY":
			secrets[i] = name + "=" + mark
		case "DATABASE_URL":
			secrets[i] = name + "=postgres://u:" + mark + "@h/d?sslpassword=" + mark
		}
	}
	l := loadBackend(t, config.Sources{Environ: secrets})
	report := l.Report()
	requireNoMark(t, mark, l, l.Msg, report, l.Secret("DATABASE_URL"))
	require.Equal(t, "postgres://u:***@h/d?sslpassword=***", field(t, report, "DATABASE_URL").GetValue())
	require.Empty(t, field(t, report, "SECRET_KEY").GetValue())
	require.True(t, field(t, report, "SECRET_KEY").GetIsSet())
}

// TestPasswordsOfRefusedAddressesAreNotShown: poco config check shows what was
// written where it is refused.
func TestPasswordsOfRefusedAddressesAreNotShown(t *testing.T) {
	const mark = "s3cr3t-mark"
	for _, value := range []string{"u:" + mark + "@h:9000", "http://" + mark + "@h", "http://u:" + mark + "@h", "http:/" + mark + "@"} {
		check := config.CheckEnvironment(config.Sources{Environ: backendEnv("EXECUTOR_MANAGER_URL="+value, "CORS_ORIGINS="+value)}, "backend")
		require.Error(t, check.Err())
		requireNoMark(t, mark, check.Err().Error(), check.Services[0].Report)
	}
}

func TestPasswordsInPlainURLs(t *testing.T) {
	require.Equal(t, []string{
		"EXECUTOR_MANAGER_URL, in the environment: holds a password, and this setting is no secret: write the URL without user name and password",
	}, problems(t, config.Sources{Environ: backendEnv("EXECUTOR_MANAGER_URL=http://u:p@m:8001")}))
	require.Equal(t, []string{
		"OPENAI_BASE_URL, in the environment: expected a URL such as http://host:port: correct the value",
	}, problems(t, config.Sources{Environ: backendEnv("OPENAI_BASE_URL=https://api.example/v1?key=k")}))
}

func TestRequiredUnderAWrongName(t *testing.T) {
	environ := backendEnv("DATABASE_ULR=postgres://u:p@h/d", "S3_SECRETKEY_FILE=/run/secrets/s3")
	environ = slices.DeleteFunc(environ, func(e string) bool {
		return strings.HasPrefix(e, "DATABASE_URL=") || strings.HasPrefix(e, "S3_SECRET_KEY=")
	})
	require.Equal(t, []string{
		"DATABASE_URL: is required and not set, and DATABASE_ULR, which nobody reads, is: rename DATABASE_ULR to DATABASE_URL",
		"S3_SECRET_KEY: is required and not set, unlike S3_ENDPOINT, S3_ACCESS_KEY and S3_BUCKET, which cannot be used without it, " +
			"and S3_SECRETKEY_FILE, which nobody reads, is: rename S3_SECRETKEY_FILE to S3_SECRET_KEY_FILE",
	}, problems(t, config.Sources{Environ: environ}))
}

func TestConditionalDefault(t *testing.T) {
	for debug, level := range map[string]string{"false": "INFO", "1": "DEBUG"} {
		l := loadBackend(t, config.Sources{Environ: backendEnv("DEBUG=" + debug)})
		require.Equal(t, level, l.Msg.GetLogging().GetLevel())
		f := field(t, l.Report(), "LOG_LEVEL")
		require.Equal(t, []string{level, level}, []string{f.GetValue(), f.GetDefaultValue()})
		require.Equal(t, configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, f.GetSource())
	}
	l := loadBackend(t, config.Sources{Environ: backendEnv("DEBUG=true", "LOG_LEVEL=error")})
	require.Equal(t, "ERROR", l.Msg.GetLogging().GetLevel())
}

func TestInsecureDefaults(t *testing.T) {
	environ := backendEnv("S3_SECRET_KEY=poco-secret")
	environ[1], environ[2] = "SECRET_KEY=change-this-secret", "INTERNAL_API_TOKEN=4f0c1d6e8b2a4f73b5a1c9d7e3f60812"
	l := loadBackend(t, config.Sources{Environ: environ})
	var codes []string
	for _, f := range l.Report().GetFindings() {
		codes = append(codes, f.GetCode()+" "+f.GetEnv())
	}
	require.Equal(t, []string{"insecure_default SECRET_KEY", "insecure_default S3_SECRET_KEY"}, codes)
	require.True(t, field(t, l.Report(), "SECRET_KEY").GetInsecureDefault())

	got := problems(t, config.Sources{Environ: append(environ, "APP_ENV=production")})
	require.Len(t, got, 2)
	require.Contains(t, got[0], "SECRET_KEY, in the environment: has a value that is fit for development only, which APP_ENV=production refuses")
}

func TestAliases(t *testing.T) {
	l := loadBackend(t, config.Sources{Environ: backendEnv("UVICORN_ACCESS_LOG=true")})
	require.True(t, l.Msg.GetLogging().GetAccessLog())
	require.Equal(t, "alias_used", l.Report().GetFindings()[0].GetCode())
	require.Equal(t, "UVICORN_ACCESS_LOG", field(t, l.Report(), "ACCESS_LOG").GetLayers()[0].GetOrigin())
	// The same value twice is no conflict, however it is written.
	for _, pair := range [][2]string{{"true", "true"}, {"on", "true"}, {" TRUE", "1"}, {"off", "0"}, {"no", "FALSE"}} {
		loadBackend(t, config.Sources{Environ: backendEnv("UVICORN_ACCESS_LOG="+pair[0], "ACCESS_LOG="+pair[1])})
	}
	for _, pair := range [][2]string{{"on", "off"}, {"1", "0"}, {"perhaps", "true"}} {
		got := problems(t, config.Sources{Environ: backendEnv("UVICORN_ACCESS_LOG="+pair[0], "ACCESS_LOG="+pair[1])})
		require.Contains(t, got[0], "are set to different values")
	}
	_, err := config.Load(&configv1.FrontendConfig{}, "frontend", config.Sources{Environ: []string{
		"BACKEND_URL=http://backend:8000", "POCO_API_URL=http://backend:8000/",
	}})
	require.NoError(t, err)
}

// What a check says of a value is what the start does with it.
func TestValuesThatTheStartRefuses(t *testing.T) {
	for value, want := range map[string]string{
		"DATABASE_URL=postgres://poco:p@db/poco?sslmode=yes":                       "sslmode",
		"DATABASE_URL=postgres://poco:p@db/poco?schema=public":                     "write search_path=",
		"DATABASE_URL=postgres://poco:p@db/poco?sslrootcert=/no&sslmode=verify-ca": "sslrootcert",
		"S3_ENDPOINT=localhost:9000":                                               "put http:// or https:// before it",
		"EXECUTOR_MANAGER_URL=127.0.0.1:8001":                                      "put http:// or https:// before it",
	} {
		name, _, _ := strings.Cut(value, "=")
		got := problems(t, config.Sources{Environ: append(without(backendEnv(), name), value)})
		require.Len(t, got, 1)
		require.Contains(t, got[0], name)
		require.Contains(t, got[0], want)
	}
	l := loadBackend(t, config.Sources{Environ: append(without(backendEnv(), "DATABASE_URL"), "DATABASE_URL=postgresql+psycopg://poco:Tr0ub4dor@db/poco")})
	require.NotContains(t, field(t, l.Report(), "DATABASE_URL").GetValue(), "Tr0ub4dor")
}

func TestDotEnvFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	loadBackend(t, config.Sources{Environ: backendEnv(), DotEnvPath: missing})
	require.Len(t, problems(t, config.Sources{Environ: backendEnv(), DotEnvPath: missing, DotEnvRequired: true}), 1)
	t.Setenv("POCO_ENV_FILE", missing)
	require.True(t, config.OSSources().DotEnvRequired)
}

// TestEverySchema makes sure that every config message can be loaded, and that
// every setting is documented.
func TestEverySchema(t *testing.T) {
	for _, load := range []func() error{
		func() error {
			_, err := config.Load(&configv1.ManagerConfig{}, "manager", config.Sources{})
			return err
		},
		func() error {
			_, err := config.Load(&configv1.ExecutorConfig{}, "executor", config.Sources{})
			return err
		},
		func() error {
			_, err := config.Load(&configv1.FrontendConfig{}, "frontend", config.Sources{})
			return err
		},
	} {
		var p *config.Problems
		require.ErrorAs(t, load(), &p)
		for _, problem := range p.List {
			require.Contains(t, problem.Message, "is required and not set", problem.Env)
		}
	}
	l, err := config.Load(&configv1.PocoConfig{}, "poco", config.Sources{})
	require.NoError(t, err)
	for _, r := range []*configv1.GetConfigResponse{l.Report(), loadBackend(t, config.Sources{Environ: backendEnv()}).Report()} {
		for _, f := range r.GetFields() {
			require.NotEmpty(t, f.GetDescription(), f.GetEnv())
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	src := config.Sources{Environ: backendEnv()}
	for b.Loop() {
		if _, err := config.Load(&configv1.BackendConfig{}, "backend", src); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReport is what GetConfig takes besides the call itself; the aim is
// well under 1 ms.
func BenchmarkReport(b *testing.B) {
	l, err := config.Load(&configv1.ManagerConfig{}, "manager", config.Sources{Environ: managerEnv()})
	require.NoError(b, err)
	for b.Loop() {
		l.Refresh()
		l.Report()
	}
}
