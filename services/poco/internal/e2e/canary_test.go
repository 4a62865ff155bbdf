package e2e

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// TestNoSecretLeaks gives every secret of every service a random value, runs
// the whole system on them, asks it everything, breaks it in many ways, and
// looks for the values in all that comes out.
func TestNoSecretLeaks(t *testing.T) {
	for name, c := range map[string]struct {
		runtime string
		asFiles bool
	}{
		"by environment, in containers": {dockerRuntime, false},
		"by files, in processes":        {processRuntime, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAviary(t, c.runtime, c.asFiles)
			a.runATask()
			a.askEverything()
			a.askOnCommandLine()
			a.fail()
			a.lookAround()
			for _, kind := range []string{"answer", "event", "command", "executor environment", "log", "refusal", "file", "stored object", "table"} {
				require.NotZero(t, a.looked[kind], "no %s was looked at", kind)
			}
		})
	}
}

// aviary is a whole stack whose secrets are canaries.
type aviary struct {
	*canaries
	stack    *stack
	asFiles  bool
	frontend *program
	executor *program
	logs     map[*program]*output.Buffer
	logDir   string
	s3Dir    string
	database url.URL
	values   map[string]string
	follower *follower
	session  string
	run      string
}

func newAviary(t *testing.T, runtime string, asFiles bool) *aviary {
	t.Helper()
	a := &aviary{canaries: newCanaries(t), asFiles: asFiles, logs: map[*program]*output.Buffer{}, logDir: t.TempDir(), values: map[string]string{}}
	// With characters that have to be escaped inside a URL.
	postgres, _ := testkit.OwnPostgresWith(t, "p@/:%"+a.hatch("DATABASE_URL"))
	databaseURL, err := url.Parse(postgres.URL())
	require.NoError(t, err)
	a.database = *databaseURL
	server, s3 := ownS3(t)
	a.s3Dir = s3.DataDir
	a.add("S3_ACCESS_KEY", s3.AccessKey)
	a.add("S3_SECRET_KEY", s3.SecretKey)
	a.values["DATABASE_URL"], a.values["S3_ACCESS_KEY"], a.values["S3_SECRET_KEY"] = postgres.URL(), s3.AccessKey, s3.SecretKey
	for _, service := range schema.Services() {
		for _, setting := range service.Settings() {
			if env := setting.GetEnv(); setting.IsSecret() && a.values[env] == "" {
				a.values[env] = a.hatch(env)
			}
		}
	}
	env := maps.Clone(a.values)
	env["S3_MAX_ATTEMPTS"] = "1"
	a.stack = newStack(t, stackOptions{
		runtime: runtime, databaseURL: postgres.URL(), env: env,
		s3: &testkit.S3Server{
			Config: &configv1.ObjectStoreConfig{
				Endpoint: server.Endpoint(), Bucket: "canaries", Region: "us-east-1", ForcePathStyle: true, MaxAttempts: 1,
				PresignExpires: durationpb.New(time.Minute), ConnectTimeout: durationpb.New(time.Minute), ReadTimeout: durationpb.New(time.Minute),
			},
			AccessKey: config.NewSecret(s3.AccessKey), SecretKey: config.NewSecret(s3.SecretKey),
		},
	})
	require.NoError(t, a.stack.store.EnsureBucket(t.Context()))
	a.frontend = newProgram(t, "frontend", map[string]string{"FRONTEND_HOST": "127.0.0.1", "BACKEND_URL": a.stack.backend.url()})
	a.frontend.env["FRONTEND_PORT"] = strconv.Itoa(a.frontend.port)
	a.executor = newProgram(t, "executor", map[string]string{"EXECUTOR_HOST": "127.0.0.1", "DEFAULT_MODEL": "none", "WORKSPACE_PATH": t.TempDir()})
	a.executor.env["EXECUTOR_PORT"] = strconv.Itoa(a.executor.port)
	for _, p := range []*program{a.stack.backend, a.stack.manager, a.frontend, a.executor} {
		a.equip(p)
	}
	a.stack.backend.env["EXECUTOR_MANAGER_URL"] = a.stack.manager.url()
	a.stack.start()
	a.frontend.start()
	a.executor.start()
	return a
}

// equip gives a program its canaries and makes it talk.
func (a *aviary) equip(p *program) {
	a.t.Helper()
	service, ok := schema.Named(p.name)
	require.True(a.t, ok, p.name)
	for _, setting := range service.Settings() {
		if setting.IsSecret() {
			p.env[setting.GetEnv()] = a.values[setting.GetEnv()]
		}
	}
	maps.Copy(p.env, map[string]string{
		"DEBUG": "true", "LOG_LEVEL": "DEBUG", "ACCESS_LOG": "true", "LOG_TO_FILE": "true", "LOG_DIR": a.logDir,
		// Secrets under names that nobody reads.
		"INTERNAL_API_TOKN": a.hatch("INTERNAL_API_TOKN"), "POCO_SECRET": a.hatch("POCO_SECRET"),
	})
	if p.name == "backend" {
		p.env["LOG_SQL"] = "true"
	}
	if a.asFiles {
		a.moveToFiles(p.env)
	}
	a.listen(p)
}

func (a *aviary) listen(p *program) {
	a.logs[p] = &output.Buffer{}
	p.log = a.logs[p]
}

// moveToFiles replaces secrets by files that hold them.
func (a *aviary) moveToFiles(env map[string]string) {
	a.t.Helper()
	for name, value := range a.values {
		if env[name] == "" {
			continue
		}
		path := filepath.Join(a.t.(*testing.T).TempDir(), "secret")
		require.NoError(a.t, os.WriteFile(path, []byte(value+"\n"), 0o600))
		env[name+"_FILE"] = path
		delete(env, name)
	}
}

// runATask runs a prompt to its end, and looks at its executor meanwhile.
func (a *aviary) runATask() {
	a.t.Helper()
	f, session, run := a.stack.midRun()
	a.follower, a.session, a.run = f, session, run
	inside := append(processesWith(a.t, "EXECUTOR_TOKEN="), processesWith(a.t, "CLAUDE_CONFIG_DIR=")...)
	inside = slices.DeleteFunc(inside, func(pid int) bool { return pid == a.executor.cmd.Process.Pid })
	require.NotEmpty(a.t, inside)
	for _, pid := range inside {
		for _, name := range []string{"environ", "cmdline"} {
			content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
			if err == nil { // else it has ended
				a.check("executor environment", strconv.Itoa(pid), string(content))
			}
		}
	}
	if a.stack.runtime == dockerRuntime {
		id, description, log := a.stack.container(session)
		a.check("container", id, description)
		a.check("log", id, log)
	}
	a.stack.letGo(session)
	a.stack.requireGoneOn(f, run)
}

// askEverything calls whatever the services have, with the right token, a wrong
// one and none.
func (a *aviary) askEverything() {
	a.t.Helper()
	ask := &asker{
		canaries: a.canaries, client: http.DefaultClient,
		ids:    map[protoreflect.Name]string{"session_id": a.session, "run_id": a.run},
		tokens: []string{"", a.values["INTERNAL_API_TOKEN"], a.values["CLIENT_TOKEN"], a.values["EXECUTOR_TOKEN"], "a-wrong-token-of-some-length"},
	}
	for _, p := range []*program{a.stack.backend, a.stack.manager, a.frontend, a.executor} {
		ask.everyRPC(p)
		ask.everyPage(p)
	}
	a.checkEvents()
}

// checkEvents looks at all that a watcher has got.
func (a *aviary) checkEvents() {
	a.t.Helper()
	for _, e := range a.follower.all() {
		text, err := protojson.Marshal(e)
		require.NoError(a.t, err)
		a.check("event", e.GetRunId(), string(text))
	}
}

// askOnCommandLine runs every command that shows settings, in an environment
// that has the secrets itself.
func (a *aviary) askOnCommandLine() {
	a.t.Helper()
	dir := a.t.(*testing.T).TempDir()
	env := maps.Clone(a.stack.backend.env)
	maps.Copy(env, a.stack.manager.env)
	maps.Copy(env, map[string]string{
		"POCO_URL": a.stack.backend.url(), "POCO_MANAGER_URL": a.stack.manager.url(), "POCO_FRONTEND_URL": a.frontend.url(),
	})
	var lines []string
	for name, value := range env {
		lines = append(lines, name+"="+strconv.Quote(value))
	}
	require.NoError(a.t, os.WriteFile(filepath.Join(dir, "all.env"), []byte(strings.Join(lines, "\n")+"\nPORT=x\n"), 0o600))
	for _, command := range []string{
		"show", "show --all", "show --json", "show --live", "show --pending", "show --url " + a.executor.url(),
		"explain DATABASE_URL", "explain INTERNAL_API_TOKEN", "explain INTERNAL_API_TOKN",
		"check", "check --json", "check --production", "check --env-file all.env", "check --production --strict --env-file all.env",
		"diff backend manager", "diff all.env backend", "diff all.env manager", "diff manager all.env",
		"peers", "peers --url " + a.stack.manager.url(), "init --file new.env",
	} {
		cmd := exec.CommandContext(a.t.Context(), filepath.Join(binDir, "poco"), append([]string{"config"}, strings.Fields(command)...)...)
		cmd.Dir = dir
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		output, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil {
			require.ErrorAs(a.t, err, &exit)
		}
		require.NotEmpty(a.t, output, command)
		a.check("command", command, string(output))
	}
	content, err := os.ReadFile(filepath.Join(dir, "new.env"))
	require.NoError(a.t, err)
	a.check("file", "new.env", string(content))
}

// fail breaks the system in many ways, and looks at how it complains.
func (a *aviary) fail() {
	a.t.Helper()
	unclosed := filepath.Join(a.t.(*testing.T).TempDir(), "unclosed")
	require.NoError(a.t, os.WriteFile(unclosed, []byte("SECRET_KEY=\""+a.hatch("unclosed quote")+"\nno assignment "+a.hatch("junk line")+"\n"), 0o600))
	lines := filepath.Join(a.t.(*testing.T).TempDir(), "lines")
	require.NoError(a.t, os.WriteFile(lines, []byte(a.hatch("first line")+"\n"+a.hatch("second line")+"\n"), 0o600))
	for name, change := range map[string]map[string]string{
		"wrong database password":     {"DATABASE_URL": a.databaseURL("wrong password", a.database.Host)},
		"database that is not there":  {"DATABASE_URL": a.databaseURL("no database", "127.0.0.1:1")},
		"database URL that is none":   {"DATABASE_URL": "postgres://u:" + a.hatch("half a URL") + "@@h:x/%zz"},
		"database URL without scheme": {"DATABASE_URL": a.hatch("no URL")},
		"database in keywords":        {"DATABASE_URL": "host=127.0.0.1 port=1 password='" + a.hatch("keyword password")},
		"invalid values":              {"PORT": a.hatch("port"), "LOG_LEVEL": a.hatch("level"), "S3_PRESIGN_EXPIRES": a.hatch("duration")},
		"secret instead of its file":  {"SECRET_KEY": "", "SECRET_KEY_FILE": a.hatch("path")},
		"secret and its file":         {"SECRET_KEY": a.hatch("twice"), "SECRET_KEY_FILE": lines},
		"file of several lines":       {"SECRET_KEY": "", "SECRET_KEY_FILE": lines},
		"malformed .env":              {"POCO_ENV_FILE": unclosed},
		"insecure in production":      {"APP_ENV": "production", "SECRET_KEY": "change-this-" + a.hatch("insecure")},
	} {
		a.refuse(name, a.stack.backend, change)
	}
	// A second manager is refused its folder at the latest.
	for name, change := range map[string]map[string]string{
		"secret in a plain URL":  {"BACKEND_URL": "http://u:" + a.hatch("plain URL") + "@127.0.0.1:1"},
		"secret in a query":      {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1/?token=" + a.hatch("query")},
		"endpoint that is none":  {"S3_ENDPOINT": "http://" + a.hatch("endpoint") + ":x"},
		"image with a password":  {"EXECUTOR_IMAGE": "user:" + a.hatch("image") + "@registry/name"},
		"not text":               {"ANTHROPIC_AUTH_TOKEN": "\xff" + a.hatch("not text")},
		"engine with a password": {"DOCKER_HOST": "tcp://u:" + a.hatch("engine") + "@127.0.0.1:1"},
	} {
		a.refuse(name, a.stack.manager, change)
	}
	a.failAtRun()
	a.dumpStacks()
}

// databaseURL is one whose password is a canary of its own.
func (a *aviary) databaseURL(name, host string) string {
	u := a.database
	u.User, u.Host = url.UserPassword(u.User.Username(), "w/@"+a.hatch(name)), host
	return u.String()
}

// refuse starts a program on settings that it cannot work with, and looks at
// what it says.
func (a *aviary) refuse(name string, like *program, change map[string]string) {
	a.t.Helper()
	p := newProgram(a.t, like.name, like.env)
	for env, value := range change {
		p.env[env] = value
		if _, said := change[env+"_FILE"]; !said {
			delete(p.env, env+"_FILE")
		}
	}
	p.env["DB_WAIT_TIMEOUT_SECONDS"] = "0"
	a.listen(p)
	p.launch()
	select {
	case <-p.done:
		require.False(a.t, p.cmd.ProcessState.Success(), name)
	case <-time.After(startTimeout):
		a.t.Errorf("%s: the %s goes on", name, p.name)
	}
	require.NotEmpty(a.t, a.logs[p].String(), name)
	a.check("refusal", name, a.logs[p].String())
}

// failAtRun runs a prompt with a model token and an S3 key that are refused.
func (a *aviary) failAtRun() {
	a.t.Helper()
	m := a.stack.manager
	m.stop()
	for _, env := range []string{"ANTHROPIC_AUTH_TOKEN", "S3_SECRET_KEY"} {
		m.env[env] = a.hatch("wrong " + env)
		delete(m.env, env+"_FILE")
	}
	m.start()
	seq := a.stack.session(a.session).GetLastSeq()
	_, run := a.stack.enqueue("Say hello.", a.session)
	require.Equal(a.t, backendv1.RunStatus_RUN_STATUS_FAILED, a.follower.awaitEnd(run).GetStatus())
	require.Equal(a.t, backendv1.ExportStatus_EXPORT_STATUS_FAILED, a.follower.awaitExport(seq).GetStatus())
	a.checkEvents()
}

// dumpStacks ends the programs as a panic does: with the stacks of all
// goroutines on stderr.
func (a *aviary) dumpStacks() {
	a.t.Helper()
	for _, p := range []*program{a.frontend, a.executor, a.stack.manager, a.stack.backend} {
		require.NoError(a.t, p.cmd.Process.Signal(syscall.SIGQUIT))
		<-p.done
		require.Contains(a.t, a.logs[p].String(), "goroutine ")
	}
}

// lookAround looks at everything that is left.
func (a *aviary) lookAround() {
	a.t.Helper()
	for p, log := range a.logs {
		a.check("log", p.name, log.String())
	}
	a.checkTree("file", a.logDir)
	a.checkTree("file", a.stack.manager.env["WORKSPACE_ROOT"])
	a.checkTree("stored object", a.s3Dir)
	a.checkDatabase(a.values["DATABASE_URL"])
}
