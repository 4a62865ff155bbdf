package config_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

const coldVariable = "POCO_TEST_COLD_LOAD"

// TestMain is also the programs that tests start: one that panics with a secret
// at hand, see TestPanics, and one that loads the largest schema once, in a new
// process, and prints the microseconds, see BenchmarkColdLoad.
func TestMain(m *testing.M) {
	if way := os.Getenv(panicVariable); way != "" {
		panicWith(way)
	}
	if os.Getenv(coldVariable) != "1" {
		goleak.VerifyTestMain(m)
		return
	}
	src := config.Sources{Environ: []string{
		"BACKEND_URL=http://b", "CALLBACK_BASE_URL=http://m", "INTERNAL_API_TOKEN=t", "WORKSPACE_ROOT=/w",
		"S3_ENDPOINT=http://s3", "S3_ACCESS_KEY=a", "S3_SECRET_KEY=s", "S3_BUCKET=poco",
	}}
	start := time.Now()
	if _, err := config.Load(&configv1.ManagerConfig{}, "manager", src); err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(strconv.FormatInt(time.Since(start).Microseconds(), 10))
}

// BenchmarkColdLoad measures the first load of a process, which is what a start
// pays; the aim is well under 25 ms.
func BenchmarkColdLoad(b *testing.B) {
	program, err := os.Executable()
	require.NoError(b, err)
	var total time.Duration
	for b.Loop() {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), coldVariable+"=1")
		out, err := cmd.Output()
		require.NoError(b, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(out)))
		require.NoError(b, err)
		total += time.Duration(n) * time.Microsecond
	}
	b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms/load")
}
