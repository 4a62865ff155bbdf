package runtimetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const testExecutorPackage = "github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest/testexecutor"

// BuildExecutor builds the test executor, statically linked, and returns its
// path. The folder lives as long as t.
func BuildExecutor(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "testexecutor")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, testExecutorPackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "build the test executor: %s", output)
	return path
}
