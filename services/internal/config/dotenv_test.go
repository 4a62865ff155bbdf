package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
)

func TestDotEnvNotation(t *testing.T) {
	l := loadBackend(t, config.Sources{Environ: backendEnv(), DotEnvPath: write(t, ".env", "\uFEFFPORT=1001\r\n"+
		"  export HOST = \"127.0.0.1\"  # local\r\n# S3_REGION=no\r\nNAME=eu\r\nS3_REGION=\"${NAME}-1\"\r\n"+
		"OPENAI_DEFAULT_MODEL='$literal #1'\r\nCORS_ORIGINS=\"http://a\r\nhttp://b\"\r\n")})
	require.Equal(t, int32(1001), l.Msg.GetServer().GetPort())
	require.Equal(t, "127.0.0.1", l.Msg.GetServer().GetHost())
	require.Equal(t, "eu-1", l.Msg.GetObjectStore().GetRegion())
	require.Equal(t, "$literal #1", l.Msg.GetTitles().GetOpenaiDefaultModel())
	require.Equal(t, []string{"http://a", "http://b"}, l.Msg.GetServer().GetCorsOrigins())
}

func TestDotEnvMistakes(t *testing.T) {
	const mark = "s3cr3t-mark"
	path := write(t, ".env", strings.Join([]string{
		"PORT=x",                // 1: a value
		mark,                    // 2: no name
		"TWO WORDS=" + mark,     // 3
		"SECRET_KEY='" + mark,   // 4: not closed
		`HOST="127.0.0.1" junk`, // 5: something behind the value
		"1ST=" + mark,           // 6: no name
		"=" + mark,              // 7
		"S3_REGION=eu",          // 8: good
		"LOG_DIR",               // 9
	}, "\n"))
	got := problems(t, config.Sources{Environ: backendEnv(), DotEnvPath: path})
	var want []string
	for _, line := range []string{"2", "3", "4", "5", "6", "7", "9"} {
		want = append(want, "line "+line+" of "+path+": expected NAME=value, a comment or an empty line: "+
			"correct the line, or put a # before it; a value with a quote or line break in it needs quotes around it")
	}
	want = append(want, "PORT, in line 1 of "+path+": expected a whole number, from 0 to 65535: correct the value, or leave it out for the default 8000")
	require.Equal(t, want, got)
}

func TestDotEnvFindings(t *testing.T) {
	path := write(t, ".env", "PORT=1\nS3_REGION=a\nPORT=2\nDOMAIN=x\nLOG_DIR=/$DOMAIN\nOPENAI_DEFAULT_MODEL=\"a${B}c\"\nS3_BUCKET='pa$$WORD'\n")
	l := loadBackend(t, config.Sources{Environ: backendEnv("S3_BUCKET="), DotEnvPath: path})
	require.Equal(t, int32(2), l.Msg.GetServer().GetPort())
	var got []string
	for _, f := range l.Report().GetFindings() {
		if f.GetCode() == config.FindingDuplicate || f.GetCode() == config.FindingLostReference {
			got = append(got, f.GetEnv()+" "+f.GetMessage())
		}
	}
	require.Equal(t, []string{
		"PORT is set several times in " + path + ", and the last one, in line 3 of " + path + ", is used: remove the others",
		"OPENAI_DEFAULT_MODEL lost a part of its value in line 6 of " + path +
			": a $ begins the name of a variable there, and no earlier line sets that one; in single quotes, a $ is just a $",
	}, got)
}

func TestDotEnvThatMayNotBeRead(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	path := write(t, ".env", "")
	require.NoError(t, os.Chmod(path, 0))
	require.Equal(t, []string{"the file " + path + " may not be read by this user: correct that, or remove the file"},
		problems(t, config.Sources{Environ: backendEnv(), DotEnvPath: path}))
}
