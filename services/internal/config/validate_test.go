package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// own is a secret that is not weak.
const own = "9f2c61d07be84a35a1f0c4d8e7b26395"

func managerEnv(extra ...string) []string {
	return append([]string{
		"BACKEND_URL=http://b", "CALLBACK_BASE_URL=http://m:8001", "INTERNAL_API_TOKEN=" + own, "WORKSPACE_ROOT=/w",
		"S3_ENDPOINT=http://s3", "S3_ACCESS_KEY=a", "S3_SECRET_KEY=" + own, "S3_BUCKET=poco", "EXECUTOR_IMAGE=poco-executor",
	}, extra...)
}

// said returns what a check of the environment says about the service: problems
// as "!VARIABLE", findings as "code VARIABLE".
func said(t *testing.T, service string, environ []string) []string {
	t.Helper()
	c := config.CheckEnvironment(config.Sources{Environ: environ}, service)
	require.Len(t, c.Services, 1)
	out := []string{}
	for _, p := range c.Services[0].Problems {
		require.NotEmpty(t, p.Fix, p.Message)
		out = append(out, "!"+p.Env)
	}
	for _, f := range c.Services[0].Report.GetFindings() {
		require.NotEqual(t, configv1.ConfigSeverity_CONFIG_SEVERITY_UNSPECIFIED, f.GetSeverity())
		out = append(out, f.GetCode()+" "+f.GetEnv())
	}
	return out
}

func TestRulesAboutSeveralSettings(t *testing.T) {
	for _, test := range []struct {
		name    string
		environ []string
		want    []string
	}{
		{"nothing unusual", nil, nil},
		{"the bucket in the endpoint", []string{"S3_ENDPOINT=http://s3:9000/poco/"}, []string{"!S3_ENDPOINT"}},
		{"a path that the store asks for", []string{"S3_ENDPOINT=https://storage.example.com/v1/s3"}, nil},
		{"docker without an image", []string{"EXECUTOR_RUNTIME=docker", "EXECUTOR_IMAGE="}, []string{"!EXECUTOR_IMAGE"}},
		{"docker, callback to localhost", []string{"EXECUTOR_RUNTIME=docker", "CALLBACK_BASE_URL=http://localhost:8001"}, []string{"!CALLBACK_BASE_URL"}},
		{"docker, callback to 127/8", []string{"EXECUTOR_RUNTIME=docker", "CALLBACK_BASE_URL=http://127.9.0.1/x"}, []string{"!CALLBACK_BASE_URL"}},
		{"docker, callback to ::1", []string{"EXECUTOR_RUNTIME=docker", "CALLBACK_BASE_URL=http://[::1]:8001"}, []string{"!CALLBACK_BASE_URL"}},
		{"docker, callback to 0.0.0.0", []string{"EXECUTOR_RUNTIME=docker", "CALLBACK_BASE_URL=http://0.0.0.0:8001"}, []string{"!CALLBACK_BASE_URL"}},
		{"docker, callback to ::", []string{"EXECUTOR_RUNTIME=docker", "CALLBACK_BASE_URL=http://[::]"}, []string{"!CALLBACK_BASE_URL"}},
		{"docker, a host that begins alike", []string{"EXECUTOR_RUNTIME=docker", "CALLBACK_BASE_URL=http://localhost.example.com:8001"}, nil},
		{"auto, callback to localhost", []string{"CALLBACK_BASE_URL=http://LOCALHOST:8001"}, []string{"unreachable_callback CALLBACK_BASE_URL"}},
		{"auto without an image, callback to localhost", []string{"CALLBACK_BASE_URL=http://localhost:8001", "EXECUTOR_IMAGE="}, nil},
		{"process, callback to localhost", []string{"CALLBACK_BASE_URL=http://localhost:8001", "EXECUTOR_RUNTIME=process"}, nil},
		{"process, callback by a name for containers", []string{"CALLBACK_BASE_URL=http://Host.Docker.Internal:8001", "EXECUTOR_RUNTIME=process"}, []string{"unreachable_callback CALLBACK_BASE_URL"}},
		{"auto without an image, callback by a name for containers", []string{"CALLBACK_BASE_URL=http://host.docker.internal:8001/", "EXECUTOR_IMAGE="}, []string{"unreachable_callback CALLBACK_BASE_URL"}},
		{"auto, callback by a name for containers", []string{"CALLBACK_BASE_URL=http://host.docker.internal:8001"}, nil},
		{"process, callback by another name", []string{"CALLBACK_BASE_URL=http://host.docker.internal.example:8001", "EXECUTOR_RUNTIME=process"}, nil},
		{"docker, listening on loopback", []string{"EXECUTOR_RUNTIME=docker", "EXECUTOR_MANAGER_HOST=127.0.0.1,::1"}, []string{"unreachable_callback EXECUTOR_MANAGER_HOST"}},
		{"docker, listening on loopback and more", []string{"EXECUTOR_RUNTIME=docker", "EXECUTOR_MANAGER_HOST=127.0.0.1,172.17.0.1"}, nil},
		{"the whole disk", []string{"WORKSPACE_ROOT=/"}, []string{"!WORKSPACE_ROOT"}},
		{"a folder of the system", []string{"WORKSPACE_ROOT=/etc/"}, []string{"!WORKSPACE_ROOT"}},
		{"a folder in a folder of the system", []string{"WORKSPACE_ROOT=/var/lib/poco"}, nil},
		{"idle longer than a run", []string{"RUN_IDLE_TIMEOUT_SECONDS=4000"}, []string{"timeout_order RUN_IDLE_TIMEOUT_SECONDS"}},
		{"idle without limit", []string{"RUN_IDLE_TIMEOUT_SECONDS=0"}, nil},
		{"questions longer than a run", []string{"USER_INPUT_TIMEOUT_SECONDS=7200"}, []string{"timeout_order USER_INPUT_TIMEOUT_SECONDS"}},
		{"runs without limit", []string{"USER_INPUT_TIMEOUT_SECONDS=7200", "RUN_TIMEOUT_SECONDS=0"}, nil},
		{"two credentials", []string{"ANTHROPIC_AUTH_TOKEN=" + own, "ANTHROPIC_API_KEY=" + own}, []string{"unused_credential ANTHROPIC_API_KEY"}},
		{"a key alone", []string{"ANTHROPIC_API_KEY=" + own}, nil},
		{"looking rarely", []string{"TASK_PULL_INTERVAL_SECONDS=300"}, []string{"timeout_order TASK_PULL_INTERVAL_SECONDS"}},
		{"a rule about a setting that is broken anyway", []string{"EXECUTOR_RUNTIME=podman", "CALLBACK_BASE_URL=http://localhost"}, []string{"!EXECUTOR_RUNTIME"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.ElementsMatch(t, test.want, said(t, "manager", managerEnv(test.environ...)))
		})
	}
}

func TestAdviceIsAboutWhatSomebodyChose(t *testing.T) {
	src := config.Sources{Environ: managerEnv("CALLBACK_BASE_URL="), Embedded: map[string]string{"CALLBACK_BASE_URL": "http://127.0.0.1:8001"}}
	l, err := config.Load(&configv1.ManagerConfig{}, "manager", src)
	require.NoError(t, err)
	require.Empty(t, l.Report().GetFindings())
}

func TestPartsOfOneThing(t *testing.T) {
	require.Empty(t, said(t, "stack", []string{"POSTGRES_PASSWORD=" + own}))
	require.Equal(t, []string{"!S3_SECRET_KEY"}, said(t, "stack", []string{"POSTGRES_PASSWORD=" + own, "S3_ACCESS_KEY=a"}))
	c := config.CheckEnvironment(config.Sources{Environ: []string{"S3_ACCESS_KEY=a", "S3_BUCKET=poco"}}, "manager")
	require.ErrorContains(t, c.Err(), "S3_ENDPOINT (manager)\n     is required and not set, unlike S3_ACCESS_KEY and S3_BUCKET, which cannot be used without it\n")
}

func TestDatabaseURL(t *testing.T) {
	services := filepath.Join(t.TempDir(), "pg_service.conf")
	require.NoError(t, os.WriteFile(services, []byte("[poco]\nhost=h\nuser=u\ndbname=d\n"), 0o600))
	t.Setenv("PGSERVICEFILE", services)
	for url, ok := range map[string]bool{
		"postgres://u:p@h/d": true, "postgres://u:a?b#c@h/d?sslmode=disable": true, "postgres://h/d?user=u": true,
		"postgres://u:p@h:1,i:2/d": true, "postgres://u:a%40b%2Fc@h/d": true,
		// The driver takes a piece of the password for the host or the database.
		"postgres://u:a@b@h/d": false, "postgres://u:1/b@h/d": false, "postgres://u:a@b/c?d@h/d": false, "postgres://u:a@b/c@h/d": false,
		// It takes none of these.
		"postgres://u:a b@h/d": false, "postgres://u:a%b@h/d": false,
		"postgres://u@h?dbname=d": true, "host=h user=u dbname=d": true, "service=poco": true, "service=another": false,
		"postgres://h/d": false, "postgres://u:p@h": false, "postgres://u:p@h/": false, "postgres://:p@h/d": false,
		"host = h user='u' password='p \\' q' dbname=d": true, "host=h user=u password=p q dbname=d": false, "host=h user=u dbname=d password='p": false,
		"host=h dbname=d": false, "host=h user=u": false, "mysql://u@h/d": false,
	} {
		environ := backendEnv()
		environ[0] = "DATABASE_URL=" + url
		_, err := config.Load(&configv1.BackendConfig{}, "backend", config.Sources{Environ: environ})
		require.Equal(t, ok, err == nil, url)
	}
	environ := backendEnv()
	environ[0] = "DATABASE_URL=postgres://u:a@b@h/d"
	require.Equal(t, []string{"DATABASE_URL, in the environment: expected a URL such as postgres://user:password@host:5432/database: " +
		"in user and password, write %40 for @, %2F for /, %20 for a space and %25 for %"}, problems(t, config.Sources{Environ: environ}))
}
