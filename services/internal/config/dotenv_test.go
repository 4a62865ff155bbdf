package config_test

import (
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
		"PORT=x",                 // 1: a value
		mark,                     // 2: no name
		"TWO WORDS=" + mark,      // 3
		"SECRET_KEY='" + mark,    // 4: not closed
		`HOST="127.0.0.1" junk`,  // 5: something behind the value
		"1ST=" + mark,            // 6: no name
		"=" + mark,               // 7
		"S3_REGION=eu",           // 8: good
		"LOG_DIR",                // 9
		"SECRET_KEY=\xff" + mark, // 10: not UTF-8
		"LOG_FORMAT=json # \xff", // 11: good
	}, "\n"))
	got := problems(t, config.Sources{Environ: without(backendEnv(), "SECRET_KEY"), DotEnvPath: path})
	var want []string
	for _, line := range []string{"2", "3", "4", "5", "6", "7", "9"} {
		want = append(want, "line "+line+" of "+path+": expected NAME=value, a comment or an empty line: "+
			"correct the line, or put a # before it; a value with a quote or line break in it needs quotes around it")
	}
	want = append(want, "PORT, in line 1 of "+path+": expected a whole number, from 0 to 65535: correct the value, or leave it out for the default 8000",
		"SECRET_KEY, in line 10 of "+path+": is not text: expected UTF-8 without NUL: write the value anew")
	require.Equal(t, want, got)
}

func TestManyDotEnvMistakes(t *testing.T) {
	path := write(t, ".env", strings.Repeat("x\n", 100))
	got := problems(t, config.Sources{Environ: backendEnv(), DotEnvPath: path})
	require.Len(t, got, 21)
	require.Contains(t, got[19], "line 20 of "+path)
	require.Contains(t, got[20], "80 more lines of "+path)
}

func TestValueOfAnUnknownName(t *testing.T) {
	path := write(t, ".env", "SECRET_KEY=$UNKNOWN\n")
	require.Equal(t, []string{"SECRET_KEY: is required and not set, because its value in line 1 of " + path +
		" is a $ and a name that no earlier line sets: write the value in single quotes, in which a $ is just a $"},
		problems(t, config.Sources{Environ: without(backendEnv(), "SECRET_KEY"), DotEnvPath: path}))
}

func TestDotEnvFindings(t *testing.T) {
	path := write(t, ".env", "PORT=1\nS3_REGION=a\nPORT=2\nDOMAIN=x\nLOG_DIR=/$DOMAIN\nOPENAI_DEFAULT_MODEL=\"a${B}c\"\nS3_BUCKET='pa$$WORD'\n"+
		"OPENAI_BASE_URL=$B\nACCESS_LOG=$ACCESS_LOG\nINTERNAL_API_TOKEN=\"a$(B)c\"\n")
	l := loadBackend(t, config.Sources{Environ: backendEnv("S3_BUCKET=", "ACCESS_LOG=true"), DotEnvPath: path})
	require.Equal(t, int32(2), l.Msg.GetServer().GetPort())
	var got []string
	for _, f := range l.Report().GetFindings() {
		if f.GetCode() == config.FindingDuplicate || f.GetCode() == config.FindingLostReference {
			got = append(got, f.GetEnv()+" "+f.GetMessage())
		}
	}
	lost := func(env, line string) string {
		return env + " lost a part of its value in line " + line + " of " + path +
			": a $ begins the name of a variable there, and no earlier line sets that one; in single quotes, a $ is just a $"
	}
	require.Equal(t, []string{
		"PORT is set several times in " + path + ", and the last one, in line 3 of " + path + ", is used: remove the others",
		lost("INTERNAL_API_TOKEN", "10"), lost("OPENAI_BASE_URL", "8"), lost("OPENAI_DEFAULT_MODEL", "6"),
	}, got)
}

// TestDotEnvThatIsNoFile: what is not set elsewhere may be set there.
func TestDotEnvThatIsNoFile(t *testing.T) {
	path := t.TempDir()
	require.Equal(t, []string{"the file " + path + ": is not a regular file: correct that, or remove the file"},
		problems(t, config.Sources{DotEnvPath: path}))
}
