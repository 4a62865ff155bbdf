package runtimetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	testExecutorPackage = "github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest/testexecutor"
	realExecutorPackage = "github.com/poco-ai/poco/services/executor"
)

// BuildExecutor builds the test executor, statically linked, and returns its
// path. The folder lives as long as t.
func BuildExecutor(t testing.TB) string {
	t.Helper()
	return build(t, testExecutorPackage)
}

// BuildRealExecutor builds the product's executor in the same way.
func BuildRealExecutor(t testing.TB) string {
	t.Helper()
	return build(t, realExecutorPackage)
}

func build(t testing.TB, program string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "executor")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "build %s: %s", program, output)
	return path
}
