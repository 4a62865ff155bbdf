package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

// Ways in which FuzzLoad sets the secrets; each for every service.
const (
	byEnvironment = iota
	byDotEnv
	byFile
	byEmbedded
	ways
)

// FuzzLoad: whatever the environment, the .env file and secrets' files hold, the
// loader does not panic, its reports can be sent, and no part of a secret is in
// them.
func FuzzLoad(f *testing.F) {
	const mark = "s3cr3t-mark"
	services := schema.Services()
	for way := range byte(ways * len(services)) {
		f.Add("PORT=1\nLOG_LEVL=x", "HOST=h\n# c\nexport A=\"b\nc\"", "", "", way)
		f.Add("PORT=\xff\x00", "BROKEN\n\xff=\x00", "\xff", "\x00", way)
		f.Add("=\n==\nAPP_ENV=production\nDEBUG=1", "'\n\"\n=\n:\nA:b\nexport\n$A=$B", "'", "'", way)
		f.Add("S3_BUCKET_FILE=/dev/zero\nsecret_key=x", "\uFEFFUVICORN_ACCESS_LOG=true\r\nACCESS_LOG=0\r\n", "\"", "", way)
		f.Add("CORS_ORIGINS=[\"\xff\"]\nRUN_TIMEOUT_SECONDS=1e309", "X=1 #\\\n\\", "\\", "\\n", way)
		f.Add("CALLBACK_BASE_URL=http://localhost\nEXECUTOR_RUNTIME=docker", "PORT=${PORT}\nPORT=$PORT", "@", "/#?", way)
		f.Add("EXECUTOR_MANAGER_PORT=tcp://10.0.0.1:8001", "1=2\n.=3\n_=4", " ", "\t", way)
	}
	folder, secrets := f.TempDir(), secretNames()
	f.Fuzz(func(t *testing.T, environ, dotEnv, before, after string, way byte) {
		environ, dotEnv = strings.ReplaceAll(environ, mark, ""), strings.ReplaceAll(dotEnv, mark, "")
		src := config.Sources{DotEnvPath: filepath.Join(folder, ".env"), Embedded: map[string]string{}}
		secretFile := filepath.Join(folder, "secret")
		var lines []string
		for name := range secrets {
			value := before + mark + after
			if strings.HasSuffix(name, "_URL") {
				value = "postgres://u:" + value + "@h/d"
			}
			switch way % ways {
			case byEnvironment:
				src.Environ = append(src.Environ, name+"="+value)
			case byDotEnv:
				// On its own line: a line break would make the rest another variable.
				lines = append(lines, name+"="+strings.NewReplacer("\n", "", "\r", "").Replace(value))
			case byFile:
				require.NoError(t, os.WriteFile(secretFile, []byte(value), 0o600))
				src.Environ = append(src.Environ, name+"_FILE="+secretFile)
			case byEmbedded:
				src.Embedded[name] = value
			}
		}
		// References would copy secrets to settings that are none.
		lines = append(lines, strings.ReplaceAll(dotEnv, "$", ""))
		if way%ways != byDotEnv {
			lines = []string{dotEnv}
		}
		require.NoError(t, os.WriteFile(src.DotEnvPath, []byte(strings.Join(lines, "\n")), 0o600))
		for pair := range strings.SplitSeq(environ, "\n") {
			if name, _, _ := strings.Cut(pair, "="); !secrets[strings.TrimSuffix(name, "_FILE")] {
				src.Environ = append(src.Environ, pair)
			}
		}
		for _, src := range []config.Sources{src, src.ForProduction()} {
			check := config.CheckEnvironment(src, services[int(way)/ways%len(services)].Name)
			if err := check.Err(); err != nil {
				require.NotContains(t, err.Error(), mark)
			}
			for _, s := range check.Services {
				requireMarshals(t, s.Report)
				require.NotContains(t, s.Report.String(), mark)
			}
			for _, stray := range check.Strays {
				requireMarshals(t, stray)
				require.NotContains(t, stray.String(), mark)
			}
		}
	})
}

func secretNames() map[string]bool {
	out := map[string]bool{}
	for _, service := range schema.Services() {
		for _, s := range service.Settings() {
			if s.IsSecret() {
				out[s.GetEnv()] = true
			}
		}
	}
	return out
}
