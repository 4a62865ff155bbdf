package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

func TestStrays(t *testing.T) {
	const noReader = ", and no service reads it"
	for name, test := range map[string]struct {
		environ []string
		dotEnv  string
		want    []string
	}{
		"letters of difference": {environ: []string{"LOG_LEVL=x", "MAX_CONCURENT_TASK=x", "S3_ACESS_KEY=x"}, want: []string{
			"LOG_LEVL is set in the environment" + noReader + ": did you mean LOG_LEVEL?",
			"MAX_CONCURENT_TASK is set in the environment" + noReader + ": did you mean MAX_CONCURRENT_TASKS?",
			"S3_ACESS_KEY is set in the environment" + noReader + ": did you mean S3_ACCESS_KEY?",
		}},
		"a word of difference": {
			environ: []string{"TASK_PULL_INTERVAL=3", "OPENAI_KEY=x", "API_TOKEN=x", "TEST_DATABASE_URL=x", "S3_SECRET_ACCESS_KEY=x", "TASK=x"},
			dotEnv:  "INTERNAL_TOKEN=x\nS3_ACCESS_KEY_ID=x\nOTHER_TOKEN=x\n",
			want: []string{
				"INTERNAL_TOKEN is set in line 1 of .env" + noReader + ": did you mean INTERNAL_API_TOKEN?",
				"OTHER_TOKEN is set in line 3 of .env" + noReader,
				"S3_ACCESS_KEY_ID is set in line 2 of .env" + noReader + ": did you mean S3_ACCESS_KEY?",
				"OPENAI_KEY is set in the environment" + noReader + ": did you mean OPENAI_API_KEY?",
				"TASK_PULL_INTERVAL is set in the environment" + noReader + ": did you mean TASK_PULL_INTERVAL_SECONDS?",
			},
		},
		"case": {environ: []string{"log_level=x", "Port=1"}, want: []string{
			"Port is set in the environment" + noReader + ": did you mean PORT?",
			"log_level is set in the environment" + noReader + ": did you mean LOG_LEVEL?",
		}},
		"files are for secrets": {environ: []string{"S3_BUCKET_FILE=/x"}, want: []string{
			"S3_BUCKET_FILE is set in the environment" + noReader + ": _FILE is for secrets only, set S3_BUCKET itself",
		}},
		"a secret's file, misspelt": {environ: []string{"SECRET_KEY_FIEL=/x"}, want: []string{
			"SECRET_KEY_FIEL is set in the environment" + noReader + ": did you mean SECRET_KEY_FILE?",
		}},
		"our prefix": {environ: []string{"POCO_COLOUR=x", "POCO_TEST_X=1", "POCO_ENV_FILE=.env", "POCO_BACKEND_SERVICE_HOST=1", "POCO_BACKEND_PORT_8000_TCP=1"}, want: []string{
			"POCO_COLOUR is set in the environment" + noReader,
		}},
		"what others use": {environ: []string{"HOME=/", "PATH=/", "TERM=x", "HOSTNAME=h", "PWD=/", "SHELL=x", "USER=u", "LANG=C", "LOGNAME=x", "TMPDIR=/t", "PGHOST=x", "=C:=x"}},
		"a file of ours": {dotEnv: "POSTGRES_PASSWORD=x\nCOLOUR=x\nPOCO_LOG_LEVEL=x\nPORTS=x\nEMPTY=\nBACKEND_DATABASE_URL=x\nPUBLISHED_HOST=x\nMY_HOST=x\n", want: []string{
			"BACKEND_DATABASE_URL is set in line 6 of .env" + noReader + ": did you mean DATABASE_URL?",
			"COLOUR is set in line 2 of .env" + noReader,
			"EMPTY is set in line 5 of .env" + noReader,
			"MY_HOST is set in line 8 of .env" + noReader,
			"POCO_LOG_LEVEL is set in line 3 of .env" + noReader + ": did you mean LOG_LEVEL?",
			"PORTS is set in line 4 of .env" + noReader + ": did you mean PORT?",
			"PUBLISHED_HOST is set in line 7 of .env" + noReader + ": did you mean EXECUTOR_PUBLISHED_HOST?",
			"POSTGRES_PASSWORD is set in line 1 of .env, and read by stack only",
		}},
		"a piece of a secret": {dotEnv: "MIIEvQIBADAN9w0BAQEF=\n", want: []string{
			" a variable whose name is not shown is set in line 1 of .env" + noReader,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			src := config.Sources{Environ: test.environ}
			if test.dotEnv != "" {
				src.DotEnvPath = ".env"
				writeIn(t, ".env", test.dotEnv)
			}
			var got []string
			for _, f := range config.CheckEnvironment(src, "backend", "manager", "executor", "frontend").Strays {
				got = append(got, f.GetEnv()+" "+f.GetMessage())
			}
			require.Equal(t, test.want, got)
		})
	}
}

// TestNearMissesAtTheStart: a service tells of variables by which one of its own
// settings was probably meant, and leaves the rest to the check.
func TestNearMissesAtTheStart(t *testing.T) {
	src := config.Sources{Environ: managerEnv("LOG_LEVL=x", "POSTGRES_PASWORD=x", "POCO_COLOUR=1")}
	l, err := config.Load(&configv1.ManagerConfig{}, "manager", src)
	require.NoError(t, err)
	require.Len(t, l.Report().GetFindings(), 1)
	require.Equal(t, "LOG_LEVL", l.Report().GetFindings()[0].GetEnv())
}

// TestProxiesThatNobodyCanUse: what goes out says what it makes of the
// environment's proxies, which no setting is about.
func TestProxiesThatNobodyCanUse(t *testing.T) {
	check := config.CheckEnvironment(config.Sources{Environ: []string{
		"HTTPS_PROXY=htp://u:s3cret@proxy.lan:1", "http_proxy=http://proxy.lan:1", "NO_PROXY=https://corp.lan",
	}}, "backend", "manager", "executor", "frontend")
	for _, service := range check.Services {
		var got []string
		for _, f := range service.Report.GetFindings() {
			if f.GetCode() == config.FindingUnusableProxy {
				require.Equal(t, configv1.ConfigSeverity_CONFIG_SEVERITY_WARNING, f.GetSeverity())
				require.NotContains(t, f.GetMessage(), "s3cret")
				got = append(got, f.GetEnv())
			}
		}
		if service.Service == "frontend" {
			require.Empty(t, got)
			continue
		}
		require.Equal(t, []string{"HTTPS_PROXY", "NO_PROXY"}, got, service.Service)
	}
}
