package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// withFile is a backend's environment whose SECRET_KEY is in a file.
func withFile(path string, extra ...string) []string {
	environ := backendEnv(append(extra, "SECRET_KEY_FILE="+path)...)
	return append(environ[:1], environ[2:]...)
}

func TestSecretFiles(t *testing.T) {
	for name, test := range map[string]struct{ content, want string }{
		"plain":                       {own, own},
		"line break at the end":       {own + "\n", own},
		"Windows, several, with mark": {"\uFEFF" + own + "\r\n\r\n", own},
		"a space is a part":           {" " + own + " \n", " " + own + " "},
		"no ASCII":                    {"schlüssel-" + own, "schlüssel-" + own},
	} {
		l := loadBackend(t, config.Sources{Environ: withFile(write(t, "key", test.content))})
		require.Equal(t, test.want, l.Secret("SECRET_KEY").Reveal(), name)
	}
	for name, test := range map[string]struct{ content, want string }{
		"empty":                   {"", "the file that SECRET_KEY_FILE names is empty: write the secret into it"},
		"only line breaks":        {" \r\n\n", "the file that SECRET_KEY_FILE names is empty: write the secret into it"},
		"too large":               {strings.Repeat("x", 1<<20+1), "the file that SECRET_KEY_FILE names is larger than 1 MiB: name a file that holds the secret alone"},
		"binary":                  {"\xff\xfe" + own, "the file that SECRET_KEY_FILE names is not text in UTF-8: name a file that holds the secret alone"},
		"two lines":               {own + "\n" + own, "has a line break or another control character in it, which no header can carry: write the value anew, on one line"},
		"a control character":     {own + "\x1b[0m", "has a line break or another control character in it, which no header can carry: write the value anew, on one line"},
		"NUL":                     {own + "\x00", "is not text: expected UTF-8 without NUL: write the value anew"},
		"one that ends in a NULs": {own + "\n\x00", "is not text: expected UTF-8 without NUL: write the value anew"},
	} {
		got := problems(t, config.Sources{Environ: withFile(write(t, "key", test.content))})
		require.Len(t, got, 1, name)
		require.True(t, strings.HasSuffix(got[0], test.want), got[0])
		require.NotContains(t, got[0], own)
	}
}

// TestFilesThatAreNoFiles: none of them may block the start.
func TestFilesThatAreNoFiles(t *testing.T) {
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	link := filepath.Join(folder, "link")
	require.NoError(t, os.Symlink(fifo, link))
	for _, path := range []string{fifo, link, folder, "/dev/zero", "/dev/tty"} {
		got := problems(t, config.Sources{Environ: withFile(path)})
		require.Equal(t, []string{"SECRET_KEY: the file that SECRET_KEY_FILE names is not a regular file: name a file that holds the secret alone"}, got, path)
		got = problems(t, config.Sources{Environ: backendEnv(), DotEnvPath: path})
		require.Equal(t, []string{"the file " + path + ": is not a regular file: correct that, or remove the file"}, got, path)
	}
	loadBackend(t, config.Sources{Environ: backendEnv(), DotEnvPath: os.DevNull})
}

func TestNameAndFile(t *testing.T) {
	file := write(t, "key", own)
	other := write(t, "key", own)
	both := []string{"SECRET_KEY: both SECRET_KEY and SECRET_KEY_FILE are set: unset one of them"}
	require.Equal(t, both, problems(t, config.Sources{Environ: backendEnv("SECRET_KEY_FILE=" + file)}))
	dotEnv := write(t, ".env", "SECRET_KEY=x\nSECRET_KEY_FILE="+file+"\n")
	environ := backendEnv()
	environ = append(environ[:1], environ[2:]...)
	require.Equal(t, both, problems(t, config.Sources{Environ: environ, DotEnvPath: dotEnv}))
	// Between sources there is an order.
	l := loadBackend(t, config.Sources{Environ: withFile(file), DotEnvPath: write(t, ".env", "SECRET_KEY_FILE="+other+"\n")})
	require.Equal(t, file, field(t, l.Report(), "SECRET_KEY").GetLayers()[0].GetOrigin())
	l = loadBackend(t, config.Sources{Environ: backendEnv(), DotEnvPath: write(t, ".env", "SECRET_KEY_FILE="+other+"\n")})
	require.Equal(t, configv1.ConfigSource_CONFIG_SOURCE_ENVIRONMENT, field(t, l.Report(), "SECRET_KEY").GetSource())
	require.Len(t, field(t, l.Report(), "SECRET_KEY").GetLayers(), 2)
}

func TestFilePermissions(t *testing.T) {
	path := write(t, "key", own)
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o400: "", 0o640: "",
		0o604: "is in the file that SECRET_KEY_FILE names, which can be read by everyone on this machine: chmod o-r the file",
		0o620: "is in the file that SECRET_KEY_FILE names, which can be written by others than its owner: chmod go-w the file",
		0o666: "is in the file that SECRET_KEY_FILE names, which can be written by others than its owner: chmod go-w the file",
	} {
		require.NoError(t, os.Chmod(path, mode))
		got := ""
		for _, f := range loadBackend(t, config.Sources{Environ: withFile(path)}).Report().GetFindings() {
			if f.GetCode() == config.FindingFilePermissions {
				require.Equal(t, "SECRET_KEY", f.GetEnv())
				got = f.GetMessage()
			}
		}
		require.Equal(t, want, got, mode)
	}
}

func TestDotEnvThatEveryoneCanWrite(t *testing.T) {
	path := write(t, ".env", "")
	require.NoError(t, os.Chmod(path, 0o666))
	findings := loadBackend(t, config.Sources{Environ: backendEnv(), DotEnvPath: path}).Report().GetFindings()
	require.Equal(t, "the file "+path+" can be written by everyone on this machine: chmod o-w the file", findings[0].GetMessage())
}

func TestValuesThatAreNoText(t *testing.T) {
	for _, value := range []string{"a\x00b", "a\xffb"} {
		for _, env := range []string{"S3_REGION", "S3_BUCKET", "CORS_ORIGINS", "SECRET_KEY", "DATABASE_URL", "LOG_LEVEL"} {
			c := config.CheckEnvironment(config.Sources{Environ: backendEnv(env + "=" + value)}, "backend")
			require.Len(t, c.Services[0].Problems, 1, env)
			require.Equal(t, "is not text: expected UTF-8 without NUL", c.Services[0].Problems[0].Message)
			requireMarshals(t, c.Services[0].Report)
		}
	}
	// One that is hidden by another source is no problem, and still reported.
	l := loadBackend(t, config.Sources{Environ: backendEnv("S3_REGION=ok"), Embedded: map[string]string{"S3_REGION": "a\xffb"}})
	requireMarshals(t, l.Report())
}

func TestSpacesAroundSecrets(t *testing.T) {
	require.Equal(t, []string{"secret_spaces S3_ACCESS_KEY"}, said(t, "manager", managerEnv("S3_ACCESS_KEY= a")))
}
