package config_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/testkit/output"
)

// patience bounds every wait; it is only ever reached by a bug.
const patience = time.Minute

type backendConfig = config.Loaded[*configv1.BackendConfig]

// without removes variables from an environment.
func without(environ []string, names ...string) []string {
	return slices.DeleteFunc(environ, func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(names, name)
	})
}

func rewrite(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// findings are the report's findings with a code, by variable.
func findings(l *backendConfig, code string) map[string]string {
	out := map[string]string{}
	for _, f := range l.Report().GetFindings() {
		if f.GetCode() == code {
			out[f.GetEnv()] = f.GetMessage()
		}
	}
	return out
}

func TestLiveSettingsFollowTheirFile(t *testing.T) {
	dotEnv := write(t, ".env", "LOG_LEVEL=WARNING\n")
	l := loadBackend(t, config.Sources{Environ: backendEnv("ACCESS_LOG=false"), DotEnvPath: dotEnv})
	var told []string
	l.OnChange(func(c *configv1.BackendConfig) { told = append(told, c.GetLogging().GetLevel()) })
	l.Refresh()
	require.Empty(t, told, "nothing has changed")

	rewrite(t, dotEnv, "LOG_LEVEL=ERROR\nACCESS_LOG=true\n")
	l.Refresh()
	require.Equal(t, []string{"ERROR"}, told)
	require.Equal(t, "ERROR", l.Current().GetLogging().GetLevel())
	require.False(t, l.Current().GetLogging().GetAccessLog(), "the environment comes first")
	require.Equal(t, "WARNING", l.Msg.GetLogging().GetLevel(), "as at the start")
	level := field(t, l.Report(), "LOG_LEVEL")
	require.Equal(t, "ERROR", level.GetValue())
	require.True(t, level.GetLive())
	require.False(t, level.GetRestartPending())
	require.Equal(t, "true", field(t, l.Report(), "ACCESS_LOG").GetLayers()[1].GetValue(), "what .env says is shown as it is now")

	require.NoError(t, os.Remove(dotEnv))
	l.Refresh()
	require.Equal(t, "INFO", l.Current().GetLogging().GetLevel())
	require.Equal(t, configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, field(t, l.Report(), "LOG_LEVEL").GetSource())
	rewrite(t, dotEnv, "DEBUG=true\n")
	l.Refresh()
	level = field(t, l.Report(), "LOG_LEVEL")
	require.Equal(t, []string{"DEBUG", "DEBUG"}, []string{level.GetValue(), level.GetDefaultValue()}, "a default that depends on another live setting")
}

func TestOtherSettingsWaitForARestart(t *testing.T) {
	dotEnv := write(t, ".env", "PORT=1001\nSECRET_KEY=first-value\n")
	l := loadBackend(t, config.Sources{Environ: without(backendEnv(), "SECRET_KEY"), DotEnvPath: dotEnv})
	l.OnChange(func(*configv1.BackendConfig) { t.Error("nothing live has changed") })
	rewrite(t, dotEnv, "PORT=1002\nSECRET_KEY=second-value\n")
	l.Refresh()
	port := field(t, l.Report(), "PORT")
	require.True(t, port.GetRestartPending())
	require.Equal(t, "1001", port.GetValue(), "the value in force")
	require.Equal(t, "1002", port.GetLayers()[0].GetValue(), "the value of the source")
	require.Equal(t, int32(1001), l.Current().GetServer().GetPort())
	require.True(t, field(t, l.Report(), "SECRET_KEY").GetRestartPending())
	require.Equal(t, "first-value", l.Secret("SECRET_KEY").Reveal())
	require.Len(t, findings(l, config.FindingRestartPending), 2)

	rewrite(t, dotEnv, "PORT=1001\nSECRET_KEY=first-value\n")
	l.Refresh()
	require.False(t, field(t, l.Report(), "PORT").GetRestartPending(), "as it was")
	require.Empty(t, findings(l, config.FindingRestartPending))
}

// TestPartsOfOneThingWaitTogether: the keys of another object store do not fit
// the one that is in use until a restart.
func TestPartsOfOneThingWaitTogether(t *testing.T) {
	store := func(endpoint, key string) string {
		return "S3_ENDPOINT=http://" + endpoint + ":9000\nS3_ACCESS_KEY=" + key + "\nS3_SECRET_KEY=" + key + "-secret\n"
	}
	dotEnv := write(t, ".env", store("one", "first"))
	l := loadBackend(t, config.Sources{Environ: without(backendEnv(), "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY"), DotEnvPath: dotEnv})
	inForce := func(key string, pending ...string) {
		t.Helper()
		l.Refresh()
		require.Equal(t, []string{key, key + "-secret"}, []string{l.Secret("S3_ACCESS_KEY").Reveal(), l.Secret("S3_SECRET_KEY").Reveal()})
		var waiting []string
		for _, f := range l.Report().GetFields() {
			if f.GetRestartPending() {
				waiting = append(waiting, f.GetEnv())
			}
		}
		require.Equal(t, pending, waiting)
		require.Len(t, findings(l, config.FindingRestartPending), len(pending))
	}
	inForce("first")
	rewrite(t, dotEnv, store("one", "rotated"))
	inForce("rotated")
	rewrite(t, dotEnv, store("two", "other"))
	inForce("rotated", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY")
	rewrite(t, dotEnv, store("one", "last"))
	inForce("last")
}

func TestReloadIsAllOrNothing(t *testing.T) {
	file := write(t, "token", "token-value\n")
	dotEnv := write(t, ".env", "LOG_LEVEL=INFO\nINTERNAL_API_TOKEN_FILE="+file+"\n")
	l := loadBackend(t, config.Sources{Environ: without(backendEnv(), "INTERNAL_API_TOKEN"), DotEnvPath: dotEnv})
	before := l.Report()
	for name, change := range map[string]func(){
		"invalid value": func() {
			rewrite(t, dotEnv, "LOG_LEVEL=s3cr3t-mark\nACCESS_LOG=true\nINTERNAL_API_TOKEN_FILE="+file+"\n")
		},
		"broken file":  func() { rewrite(t, dotEnv, "LOG_LEVEL=DEBUG\ns3cr3t-mark ='\n") },
		"empty secret": func() { rewrite(t, file, "\n") },
		"no secret":    func() { require.NoError(t, os.Remove(file)) },
		"required":     func() { rewrite(t, dotEnv, "LOG_LEVEL=DEBUG\n") },
	} {
		t.Run(name, func(t *testing.T) {
			change()
			l.Refresh()
			require.Equal(t, "INFO", l.Current().GetLogging().GetLevel())
			require.False(t, l.Current().GetLogging().GetAccessLog())
			require.Equal(t, "token-value", l.Secret("INTERNAL_API_TOKEN").Reveal())
			require.NotEmpty(t, findings(l, config.FindingReloadRefused))
			require.NotContains(t, l.Report().String(), "s3cr3t-mark")

			rewrite(t, file, "token-value\n")
			rewrite(t, dotEnv, "LOG_LEVEL=INFO\nINTERNAL_API_TOKEN_FILE="+file+"\n")
			l.Refresh()
			require.Equal(t, before.String(), l.Report().String(), "as if nothing had been")
		})
	}
}

// TestProductionStaysProduction: what production refuses is refused as long as
// the service runs as production, whatever .env says by now.
func TestProductionStaysProduction(t *testing.T) {
	dotEnv := write(t, ".env", "APP_ENV=production\nS3_SECRET_KEY=B7cYd1FgH4sNp60kq3J9\n")
	l := loadBackend(t, config.Sources{Environ: []string{
		"DATABASE_URL=postgres://poco:kq3J9xQ2vLr8@db:5432/poco",
		"SECRET_KEY=kq3J9xQ2vLr8Zt5WmB7cYd1FgH4sNp60", "INTERNAL_API_TOKEN=Zt5WmB7cYd1FgH4sNp60kq3J9xQ2vLr8",
		"S3_ENDPOINT=http://s3:9000", "S3_ACCESS_KEY=access", "S3_BUCKET=poco",
	}, DotEnvPath: dotEnv})
	rewrite(t, dotEnv, "APP_ENV=development\nS3_SECRET_KEY=poco-secret\n")
	l.Refresh()
	require.Contains(t, findings(l, config.FindingReloadRefused), "S3_SECRET_KEY")
	require.Equal(t, "B7cYd1FgH4sNp60kq3J9", l.Secret("S3_SECRET_KEY").Reveal())
	rewrite(t, dotEnv, "APP_ENV=development\nS3_SECRET_KEY=p60kq3J9B7cYd1FgH4sN\n")
	l.Refresh()
	require.Empty(t, findings(l, config.FindingReloadRefused))
	require.True(t, field(t, l.Report(), "APP_ENV").GetRestartPending())
	require.Equal(t, "p60kq3J9B7cYd1FgH4sN", l.Secret("S3_SECRET_KEY").Reveal())
}

func TestRotatedSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := write(t, "token", "first")
		environ := append(without(backendEnv(), "INTERNAL_API_TOKEN"), "INTERNAL_API_TOKEN_FILE="+file, "ROTATION_GRACE_SECONDS=60")
		l := loadBackend(t, config.Sources{Environ: environ})
		token := l.Secret("INTERNAL_API_TOKEN")
		require.True(t, token.Equal("first"))
		later := func(d time.Duration) { <-time.After(d) }

		rewrite(t, file, "second")
		require.True(t, token.Equal("second"), "a value that does not fit makes it look")
		require.Equal(t, "second", token.Reveal())
		require.True(t, token.Equal("first"), "accepted for a while")
		later(30 * time.Second)
		rewrite(t, file, "third")
		l.Refresh()
		require.Equal(t, []bool{true, true, true}, []bool{token.Equal("first"), token.Equal("second"), token.Equal("third")})
		later(30 * time.Second)
		require.Equal(t, []bool{false, true, true}, []bool{token.Equal("first"), token.Equal("second"), token.Equal("third")})
		later(30 * time.Second)
		require.Equal(t, []bool{false, false, true}, []bool{token.Equal("first"), token.Equal("second"), token.Equal("third")})
		require.Subset(t, l.SecretValues(), []string{"first", "second", "third"}, "still to be kept out of logs")
		requireNoMark(t, "third", l, token, l.Report())
	})
}

func TestRefusedSecretsAreLookedForOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := write(t, "token", "first")
		l := loadBackend(t, config.Sources{Environ: append(without(backendEnv(), "INTERNAL_API_TOKEN"), "INTERNAL_API_TOKEN_FILE="+file)})
		token := l.Secret("INTERNAL_API_TOKEN")
		require.False(t, token.Equal("second"))
		rewrite(t, file, "second")
		require.False(t, token.Equal("second"), "it has just looked")
		<-time.After(time.Second)
		require.True(t, token.Equal("second"))
	})
}

func TestSecretWithoutGrace(t *testing.T) {
	file := write(t, "key", "first-key")
	l := loadBackend(t, config.Sources{Environ: append(without(backendEnv(), "S3_SECRET_KEY"), "S3_SECRET_KEY_FILE="+file)})
	key := l.Secret("S3_SECRET_KEY")
	rewrite(t, file, "second-key")
	l.Refresh()
	require.Equal(t, "second-key", key.Reveal())
	require.False(t, key.Equal("first-key"))
}

func TestSecretValues(t *testing.T) {
	l := loadBackend(t, config.Sources{Environ: append(without(backendEnv(), "DATABASE_URL"), "DATABASE_URL=postgres://poco:hun%40ter@db/poco")})
	require.ElementsMatch(t, []string{"hun%40ter", "hun@ter", "0123456789", "token-value", "access", "s3-value"}, l.SecretValues())
}

// TestReloadsRace has readers go on while files change.
func TestReloadsRace(t *testing.T) {
	file := write(t, "token", "value-0")
	dotEnv := write(t, ".env", "")
	environ := append(without(backendEnv(), "INTERNAL_API_TOKEN"), "INTERNAL_API_TOKEN_FILE="+file)
	l := loadBackend(t, config.Sources{Environ: environ, DotEnvPath: dotEnv})
	token := l.Secret("INTERNAL_API_TOKEN")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = token.Equal(token.Reveal())
					_ = l.Current().GetLogging().GetLevel()
					_ = l.Report()
					_ = l.SecretValues()
				}
			}
		})
	}
	for i := range 20 {
		rewrite(t, file, "value-"+strings.Repeat("x", i))
		rewrite(t, dotEnv, "PORT="+strings.Repeat("1", i%4+1))
		l.Refresh()
	}
	close(stop)
	readers.Wait()
	require.Equal(t, "value-"+strings.Repeat("x", 19), token.Reveal())
}

// watched is a configuration that is watched, and what it tells.
type watched struct {
	*backendConfig
	levels chan string
	log    *output.Buffer
}

func watch(t *testing.T, src config.Sources) *watched {
	t.Helper()
	w := &watched{backendConfig: loadBackend(t, src), levels: make(chan string, 100), log: &output.Buffer{}}
	w.OnChange(func(c *configv1.BackendConfig) {
		w.levels <- c.GetLogging().GetLevel() + " " + w.Secret("INTERNAL_API_TOKEN").Reveal()
	})
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { w.Watch(ctx, slog.New(slog.NewTextHandler(w.log, nil))) })
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
	return w
}

// await waits until it is in force.
func (w *watched) await(t *testing.T, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case got := <-w.levels:
			if got == want {
				return
			}
		case <-late:
			require.FailNow(t, "no reload", want)
		}
	}
}

func TestWatchDotEnv(t *testing.T) {
	dotEnv := filepath.Join(t.TempDir(), ".env")
	w := watch(t, config.Sources{Environ: backendEnv(), DotEnvPath: dotEnv})
	rewrite(t, dotEnv, "LOG_LEVEL=DEBUG\n") // made
	w.await(t, "DEBUG token-value")
	rewrite(t, dotEnv, "LOG_LEVEL=ERROR\n") // in place
	w.await(t, "ERROR token-value")
	replacement := dotEnv + "~"
	rewrite(t, replacement, "LOG_LEVEL=WARNING\nPORT=1\n")
	require.NoError(t, os.Rename(replacement, dotEnv)) // replaced
	w.await(t, "WARNING token-value")
	require.NoError(t, os.Rename(dotEnv, dotEnv+".bak"))
	rewrite(t, dotEnv, "LOG_LEVEL=DEBUG\n") // moved away and written anew
	w.await(t, "DEBUG token-value")
	require.NoError(t, os.Remove(dotEnv)) // removed
	w.await(t, "INFO token-value")
	require.Contains(t, w.log.String(), `msg="configuration reloaded" changed=[LOG_LEVEL] restart_pending=[PORT]`)
}

// TestWatchKubernetesSecret swaps a volume as the kubelet does: the file is a
// link over ..data, which is a link that is replaced.
func TestWatchKubernetesSecret(t *testing.T) {
	volume := t.TempDir()
	publish := func(version, value string) {
		folder := filepath.Join(volume, version)
		require.NoError(t, os.Mkdir(folder, 0o700))
		rewrite(t, filepath.Join(folder, "token"), value)
		require.NoError(t, os.Symlink(version, filepath.Join(volume, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")))
	}
	publish("..1", "first")
	token := filepath.Join(volume, "token")
	require.NoError(t, os.Symlink("..data/token", token))
	w := watch(t, config.Sources{Environ: append(without(backendEnv(), "INTERNAL_API_TOKEN"), "INTERNAL_API_TOKEN_FILE="+token)})
	publish("..2", "second")
	w.await(t, "INFO second")
	require.NoError(t, os.RemoveAll(filepath.Join(volume, "..1")))
	publish("..3", "third")
	w.await(t, "INFO third")
	require.NotContains(t, w.log.String(), "second")
	require.Contains(t, w.log.String(), "INTERNAL_API_TOKEN")
}

// TestWatchAFolderThatIsMade: what .env names need not be there yet.
func TestWatchAFolderThatIsMade(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, "a", "b")
	dotEnv := filepath.Join(folder, ".env")
	w := watch(t, config.Sources{Environ: backendEnv(), DotEnvPath: dotEnv})
	require.NoError(t, os.MkdirAll(folder, 0o700))
	rewrite(t, dotEnv, "LOG_LEVEL=DEBUG\n")
	w.await(t, "DEBUG token-value")
}

func BenchmarkSecretReveal(b *testing.B) {
	secret := liveSecret(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = secret.Reveal()
	}
}

func BenchmarkSecretEqual(b *testing.B) {
	secret := liveSecret(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = secret.Equal("token-value")
	}
}

func BenchmarkRefreshUnchanged(b *testing.B) {
	l, err := config.Load(&configv1.BackendConfig{}, "backend", config.Sources{Environ: backendEnv(), DotEnvPath: filepath.Join(b.TempDir(), ".env")})
	require.NoError(b, err)
	for b.Loop() {
		l.Refresh()
	}
}

func liveSecret(b *testing.B) config.Secret {
	b.Helper()
	l, err := config.Load(&configv1.BackendConfig{}, "backend", config.Sources{Environ: backendEnv()})
	require.NoError(b, err)
	return l.Secret("INTERNAL_API_TOKEN")
}

// TestWhatIsLive: who marks another setting as live has to make it so. The log's
// level and its secrets are followed in package program, the access log in
// rpcserver, SQL in the backend's tracer, S3's keys in objectstore, the internal
// token by Secret.Equal and grpcclient.Bearer, the model's in the gateway.
func TestWhatIsLive(t *testing.T) {
	logs := []string{"DEBUG", "LOG_LEVEL", "ACCESS_LOG", "LOG_SQL"}
	tokens, keys := []string{"INTERNAL_API_TOKEN", "CLIENT_TOKEN"}, []string{"S3_ACCESS_KEY", "S3_SECRET_KEY"}
	want := map[string][]string{
		"backend":  slices.Concat(logs, tokens, keys),
		"manager":  slices.Concat(logs, tokens, keys, []string{"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"}),
		"executor": logs,
		"frontend": slices.Concat(logs, tokens),
	}
	for _, service := range schema.Services() {
		var live []string
		for _, setting := range service.Settings() {
			if setting.GetLive() {
				live = append(live, setting.GetEnv())
			}
		}
		require.ElementsMatch(t, want[service.Name], live, service.Name)
	}
}
