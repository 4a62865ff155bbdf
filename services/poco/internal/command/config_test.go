package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/joho/godotenv"
	"github.com/stretchr/testify/require"

	frontend "github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/poco/internal/command"
)

const (
	secretKey     = "a-secret-key-that-nobody-may-ever-see"
	internalToken = "an-internal-token-that-nobody-may-see"
)

// good is a .env with which every service starts.
var good = []string{
	"DATABASE_URL=postgres://poco:db-password-of-the-test@localhost/poco", "SECRET_KEY=" + secretKey, "INTERNAL_API_TOKEN=" + internalToken,
	"S3_ENDPOINT=http://localhost:9000", "S3_ACCESS_KEY=access-key-of-the-test", "S3_SECRET_KEY=s3-secret-key-of-the-test", "S3_BUCKET=poco",
	"BACKEND_URL=http://localhost:8000", "CALLBACK_BASE_URL=http://localhost:8001", "WORKSPACE_ROOT=/srv/poco/workspaces",
}

// secrets must be in no output.
var secrets = []string{secretKey, internalToken, "db-password-of-the-test", "access-key-of-the-test", "s3-secret-key-of-the-test"}

// envFile writes a .env file with good lines, and others after them.
func envFile(t *testing.T, name string, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(append(good, more...), "\n")+"\n"), 0o600))
	return path
}

// pocoConfig runs "poco config" on sources, and returns all that it prints.
func pocoConfig(t *testing.T, sources config.Sources, args ...string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	code = command.Main(sources, append([]string{"config"}, args...), strings.NewReader(""), &out, &out)
	for _, secret := range secrets {
		require.NotContains(t, out.String(), secret)
	}
	return code, out.String()
}

func TestURLsToAskAt(t *testing.T) {
	for _, url := range []string{"", "http://", "ftp://h", "http://token@h", "http://h?token=x", "http://h/#x"} {
		code, out := pocoConfig(t, config.Sources{}, "show", "--url", url)
		require.Equal(t, 2, code, url)
		require.Contains(t, out, "a URL such as http://host:8001 is expected")
	}
}

func TestConfigCheck(t *testing.T) {
	file := envFile(t, "good.env")
	typo := envFile(t, "typo.env", "LOG_LEVL=DEBUG")
	broken := envFile(t, "broken.env", "PORT=eighty")
	insecure := envFile(t, "insecure.env", "SECRET_KEY=change-this-secret-key")
	stack := envFile(t, "stack.env", "POSTGRES_PORT=none")
	environ := []string{"PORT=eighty"}
	for _, c := range []struct {
		args    string
		environ []string
		code    int
		says    string
	}{
		{"--env-file " + file, nil, 0, "Checked for backend, manager, frontend: " + file},
		{"--env-file " + file + " --strict", nil, 0, "Every service would start; no warnings."},
		{"--env-file " + file, environ, 0, "would start"},
		{"--env-file " + file + " --with-environment", environ, 1, "PORT, in the environment"},
		{"--env-file " + file + " --with-environment --service manager", environ, 0, "Checked for manager"},
		{"--env-file " + typo, nil, 0, "did you mean LOG_LEVEL?"},
		{"--env-file " + typo + " --strict", nil, 1, "1 warning."},
		{"--env-file " + broken, nil, 1, "expected a whole number, from 0 to 65535"},
		{"--env-file " + insecure, nil, 0, "fit for development only"},
		{"--env-file " + insecure + " --production", nil, 1, "SECRET_KEY, in line 11"},
		{"--env-file " + stack, nil, 1, "Checked for backend, manager, frontend, stack"},
		{"--env-file nowhere.env", nil, 2, "there is no file nowhere.env"},
		{"--service nobody", nil, 2, "is not a service: use backend, manager"},
		{"--with-environment", nil, 2, "goes with --env-file"},
		{"", good, 0, "Checked for backend, manager, frontend: the variables of this shell"},
		{"", nil, 1, "is required and not set"},
	} {
		code, out := pocoConfig(t, config.Sources{Environ: c.environ}, append([]string{"check"}, strings.Fields(c.args)...)...)
		require.Equal(t, c.code, code, "%s\n%s", c.args, out)
		require.Contains(t, out, c.says, c.args)
	}
}

// What a start would say of the folders of this machine.
func TestConfigCheckOfFolders(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "a-file")
	require.NoError(t, os.WriteFile(taken, nil, 0o600))
	free := filepath.Join(t.TempDir(), "not", "yet")
	for environ, says := range map[string]string{
		"LOG_TO_FILE=true LOG_DIR=" + taken:                "LOG_DIR",
		"LOG_TO_FILE=true LOG_DIR=" + taken + "/logs":      "LOG_DIR",
		"LOG_TO_FILE=false LOG_DIR=" + taken:               "",
		"LOG_TO_FILE=true LOG_DIR=" + free:                 "",
		"LOG_DIR=logs WORKSPACE_ROOT=" + taken + "/folder": "WORKSPACE_ROOT",
		"WORKSPACE_ROOT=" + free:                           "",
	} {
		src := config.Sources{DotEnvPath: envFile(t, ".env"), Environ: strings.Fields(environ)}
		code, out := pocoConfig(t, src, "check")
		if says == "" {
			require.Zero(t, code, "%s: %s", environ, out)
			continue
		}
		require.Equal(t, 1, code, environ)
		require.Contains(t, out, says)
		require.Contains(t, out, "cannot be written to")
	}
	require.NoDirExists(t, filepath.Dir(free))
}

func TestConfigCheckJSON(t *testing.T) {
	code, out := pocoConfig(t, config.Sources{}, "check", "--json", "--env-file", envFile(t, "broken.env", "PORT=eighty", "S3_BUKET=x"))
	require.Equal(t, 1, code)
	var document struct {
		Services []struct {
			Service  string
			Problems []struct{ Env, Message, Where, Fix string }
			Report   struct{ Fields []struct{ Env string } }
		}
		Strays []struct{ Code, Env string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &document))
	require.Equal(t, "backend", document.Services[0].Service)
	require.Len(t, document.Services[0].Problems, 1)
	require.Equal(t, "PORT", document.Services[0].Problems[0].Env)
	require.Empty(t, document.Services[1].Problems)
	require.NotEmpty(t, document.Services[0].Report.Fields)
	require.Equal(t, "S3_BUKET", document.Strays[0].Env)
}

func TestConfigGoesOnWithBrokenSettings(t *testing.T) {
	file := envFile(t, "broken.env", "this is no line", "POCO_MANAGER_URL=manager:8001")
	code, out := pocoConfig(t, config.Sources{Environ: unreachable(t)[:1], DotEnvPath: file}, "show", "backend")
	require.Equal(t, 4, code, out)
	require.Contains(t, out, "cannot be reached")
	code, out = pocoConfig(t, config.Sources{DotEnvPath: file}, "show", "manager")
	require.Equal(t, 2, code)
	require.Contains(t, out, "POCO_MANAGER_URL, in line 12")
}

func TestConfigExplainWithoutServices(t *testing.T) {
	sources := config.Sources{Environ: append(unreachable(t), "DATABASE_URL=postgres://poco:db-password-of-the-test@other/poco"), DotEnvPath: envFile(t, "x.env")}
	for _, c := range []struct {
		name string
		code int
		says []string
	}{
		{"database_url", 0, []string{
			"read by       backend", "cannot be reached", "In a backend started here",
			"in force      postgres://poco:***@other/poco, from the environment", "without that  postgres://poco:***@localhost/poco, from the file ",
		}},
		{"SECRET_KEY_FILE", 0, []string{"SECRET_KEY\n", "in force      (set, secret), from the file", "without that  (not set), and the start would be refused"}},
		{"uvicorn_access_log", 0, []string{"ACCESS_LOG\n", "read by       backend, manager, executor, frontend", "In a frontend started here"}},
		{"EXECUTOR_TOKEN", 0, []string{"read by       executor", "refused       is required and not set"}},
		{"LOG_LEVL", 2, []string{"did you mean LOG_LEVEL?"}},
		{"NOTHING_LIKE_IT_AT_ALL", 2, []string{"no service reads NOTHING_LIKE_IT_AT_ALL"}},
	} {
		code, out := pocoConfig(t, sources, "explain", c.name)
		require.Equal(t, c.code, code, out)
		for _, text := range c.says {
			require.Contains(t, out, text, c.name)
		}
	}
}

// unreachable are URLs at which nobody listens.
func unreachable(t *testing.T) []string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	var environ []string
	for _, name := range []string{"POCO_URL", "POCO_MANAGER_URL", "POCO_FRONTEND_URL"} {
		environ = append(environ, name+"=http://"+listener.Addr().String())
	}
	return environ
}

func TestConfigDiffOfFiles(t *testing.T) {
	file := envFile(t, "a.env")
	same := envFile(t, "b.env", "S3_REGION=us-east-1")
	other := envFile(t, "c.env", "S3_REGION=eu-west-1", "SECRET_KEY=another-secret-key-of-some-length", "LOG_LEVEL=DEBUG")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{file + " " + same, 0, "No setting differs."},
		{file + " " + other, 1, "two different secrets"},
		{file + " " + other, 1, "backend, manager, frontend"},
		{file + " " + other + " --service frontend", 1, "LOG_LEVEL"},
		{file + " ./nowhere.env", 2, "there is no file ./nowhere.env"},
		{file + " nobody", 2, "neither a service"},
		{file + " manager", 2, "cannot be reached"},
		{file + " ftp://host", 2, "a URL such as http://host:8001 is expected"},
	} {
		code, out := pocoConfig(t, config.Sources{Environ: unreachable(t)}, append([]string{"diff"}, strings.Fields(c.args)...)...)
		require.Equal(t, c.code, code, out)
		require.Contains(t, out, c.says)
		require.NotContains(t, out, "another-secret-key")
	}
}

func TestConfigOfAServiceInProduction(t *testing.T) {
	url := startFrontend(t, config.Sources{Environ: []string{"APP_ENV=production", "INTERNAL_API_TOKEN=" + internalToken, "BACKEND_URL=http://localhost:1"}})
	ask := func(token string, args ...string) (int, string) {
		environ := append(unreachable(t), "POCO_FRONTEND_URL="+url)
		if token != "" {
			environ = append(environ, "INTERNAL_API_TOKEN="+token)
		}
		return pocoConfig(t, config.Sources{Environ: environ}, args...)
	}
	code, out := ask("", "show", "frontend")
	require.Equal(t, 4, code)
	require.Contains(t, out, "wants the internal token: set INTERNAL_API_TOKEN")
	code, out = ask("not-the-token-of-the-frontend", "show", "frontend")
	require.Equal(t, 4, code)
	require.Contains(t, out, "refuses the INTERNAL_API_TOKEN of this environment")
	require.NotContains(t, out, "not-the-token")

	code, out = ask(internalToken, "show", "frontend")
	require.Equal(t, 0, code)
	require.Contains(t, out, "production")
	code, out = ask(internalToken, "show")
	require.Equal(t, 4, code, "two do not answer")
	require.Contains(t, out, "cannot be reached")
	require.Contains(t, out, "BACKEND_URL", "one does, and is shown")
	code, out = ask(internalToken, "show", "backend", "--backend", url)
	require.Equal(t, 0, code)
	require.Contains(t, out, "this is the frontend, not the backend: check --backend")

	code, out = ask(internalToken, "show", "frontend", "--json")
	require.Equal(t, 0, code)
	var document struct {
		Services []struct {
			Service, URL string
			Report       struct {
				Fields []struct{ Env, Source string }
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &document))
	require.Equal(t, "frontend", document.Services[0].Service)
	require.Equal(t, "APP_ENV", document.Services[0].Report.Fields[0].Env)
	require.Equal(t, "CONFIG_SOURCE_ENVIRONMENT", document.Services[0].Report.Fields[0].Source)

	code, out = ask("", "peers", "frontend")
	require.Equal(t, 1, code, "its backend is not there")
	require.Contains(t, out, "the backend cannot be asked")
	code, out = ask(internalToken, "diff", "frontend", envFile(t, "same.env"))
	require.Equal(t, 1, code)
	require.Contains(t, out, "APP_ENV")
	require.NotContains(t, out, "INTERNAL_API_TOKEN", "it is the same")
}

func TestConfigShowPending(t *testing.T) {
	file := envFile(t, "live.env", "FRONTEND_PORT=3000")
	url := startFrontend(t, config.Sources{DotEnvPath: file})
	pending := func(lines string) string {
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(good, "\n")+"\n"+lines), 0o600))
		code, out := pocoConfig(t, config.Sources{}, "show", "--pending", "--url", url)
		require.Equal(t, 0, code, out)
		return out
	}
	require.Contains(t, pending("FRONTEND_PORT=3000\nLOG_LEVEL=ERROR\n"), "Nothing has changed on disk that is not in force.")
	require.Regexp(t, `FRONTEND_PORT +frontend +3000 +3001 +\.env`, pending("FRONTEND_PORT=3001\n"))
	out := pending("FRONTEND_PORT=3000\nLOG_LEVEL=VERBOSE\n")
	require.Contains(t, out, "LOG_LEVEL the configuration has been changed and is not followed")
	require.NotContains(t, out, "Nothing has changed")
}

func TestConfigInit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new.env")
	code, out := pocoConfig(t, config.Sources{}, "init", "--file", path)
	require.Equal(t, 0, code, out)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	values, err := godotenv.Read(path)
	require.NoError(t, err)
	for _, name := range []string{"SECRET_KEY", "INTERNAL_API_TOKEN", "S3_SECRET_KEY", "POSTGRES_PASSWORD"} {
		require.Contains(t, out, name)
		require.NotContains(t, out, values[name])
		require.Len(t, values[name], 43, "32 bytes in base64")
	}
	require.Contains(t, values["DATABASE_URL"], ":"+values["POSTGRES_PASSWORD"]+"@")

	code, out = pocoConfig(t, config.Sources{}, "check", "--env-file", path, "--production", "--strict")
	require.Equal(t, 0, code, out)
	require.Contains(t, out, "backend, manager, frontend, stack")

	before, err := os.ReadFile(path)
	require.NoError(t, err)
	code, out = pocoConfig(t, config.Sources{}, "init", "--file", path)
	require.Equal(t, 1, code)
	require.Contains(t, out, "exists already, and is not overwritten")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	link := filepath.Join(dir, "link.env")
	require.NoError(t, os.Symlink(filepath.Join(dir, "elsewhere"), link))
	code, _ = pocoConfig(t, config.Sources{}, "init", "--file", link)
	require.Equal(t, 1, code, "a link is not followed")

	code, _ = pocoConfig(t, config.Sources{}, "init", "--file", filepath.Join(dir, "manager.env"), "--service", "manager")
	require.Equal(t, 0, code)
	others, err := godotenv.Read(filepath.Join(dir, "manager.env"))
	require.NoError(t, err)
	require.NotContains(t, others, "SECRET_KEY")
	require.NotEqual(t, values["INTERNAL_API_TOKEN"], others["INTERNAL_API_TOKEN"])
	code, out = pocoConfig(t, config.Sources{}, "check", "--env-file", filepath.Join(dir, "manager.env"), "--service", "manager")
	require.Equal(t, 0, code, out)
}

// TestOutputThatCannotBeWritten is no wrong use.
func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no full disk here: ", err)
	}
	t.Cleanup(func() { require.NoError(t, full.Close()) })
	args := []string{"config", "diff", envFile(t, "a.env"), envFile(t, "b.env", "PORT=1"), "--json"}
	var said bytes.Buffer
	require.Equal(t, 1, command.Main(config.Sources{}, args, strings.NewReader(""), full, &said))
	require.Contains(t, said.String(), "no space left")
}

// startFrontend runs a real frontend until the end of the test.
func startFrontend(t *testing.T, sources config.Sources) string {
	t.Helper()
	cfg, err := frontend.LoadConfig(sources)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	listener := testkit.Listener(t)
	go func() {
		done <- frontend.Run(ctx, cfg, frontend.Options{
			Logger: slog.New(slog.DiscardHandler), Listener: listener, Ready: func(url string) { ready <- url },
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return <-ready
}

func TestEveryConfigCommandHasHelpWithAnExample(t *testing.T) {
	_, help := pocoConfig(t, config.Sources{}, "--help")
	for _, name := range []string{"show", "explain", "check", "diff", "peers", "init"} {
		require.Contains(t, help, "\n  "+name+" ")
		code, out := pocoConfig(t, config.Sources{}, name, "--help")
		require.Equal(t, 0, code)
		require.Contains(t, out, "Examples:")
		require.Contains(t, out, "Exit codes:")
	}
	code, out := pocoConfig(t, config.Sources{}, "shw")
	require.Equal(t, 2, code)
	require.Contains(t, out, "unknown command")
}
