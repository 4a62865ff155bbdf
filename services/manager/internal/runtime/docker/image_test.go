package docker_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/claudecode"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit"
	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/docker"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest"
)

// imageVariable names the real executor image, built by .ci/executor-image.
const imageVariable = "POCO_TEST_EXECUTOR_IMAGE"

func launchReal(t *testing.T) (machine, runtime.Spec, runtime.Executor) {
	t.Helper()
	image := os.Getenv(imageVariable)
	if image == "" {
		testkit.Missing(t, "%s is not set: build the executor image with .ci/executor-image", imageVariable)
	}
	m := newMachine(t)
	spec := m.NewSpec(t)
	_, e := m.launch(t, docker.Config{Image: image, MemoryBytes: 1 << 30, CPUs: 1, PidsLimit: 256}, spec)
	return m, spec, e
}

func TestRealExecutorTakesItsTokenOnly(t *testing.T) {
	_, spec, e := launchReal(t)
	runtimetest.RequireRealExecutor(t, e, spec)
}

// What an agent finds in its sandbox.
func TestRealExecutorImage(t *testing.T) {
	m, _, e := launchReal(t)
	for _, c := range []struct{ name, script, want string }{
		{"the pinned CLI", "claude --version", claudecode.Version},
		{"not root", "id -u", ""},
		{"a workspace to write in", "git init -q /workspace/x && cd /workspace/x && echo a >f && git add f && git -c user.name=a -c user.email=a@b commit -qm a && git log --format=%s", "a"},
		{"a home to write in", "echo a >$HOME/f && cat $HOME/f", "a"},
		{"tools", "for tool in rg git python3 curl jq; do command -v $tool || exit 1; done", "python3"},
		{"no capabilities", "grep CapEff /proc/self/status", "0000000000000000"},
		{"no way up", "grep NoNewPrivs /proc/self/status", "1"},
	} {
		code, output := m.exec(t, e, c.script)
		require.Zero(t, code, "%s: %s", c.name, output)
		require.Contains(t, output, c.want, c.name)
	}
	_, user := m.exec(t, e, "id -u")
	require.NotEqual(t, "0\n", user)
	for _, script := range []string{"echo a >/etc/f", "echo a >/usr/local/bin/f", "ls /var/run/docker.sock", "chown 0:0 /workspace"} {
		code, output := m.exec(t, e, script)
		require.NotZero(t, code, "%s: %s", script, output)
	}
}

// What runs as the executor's user must find nothing that speaks for the
// executor: not in its processes, not in a file.
func TestAnAgentCannotLookIntoItsExecutor(t *testing.T) {
	m, spec, e := launchReal(t)
	_, pid := m.exec(t, e, "pgrep -x poco-executor")
	pid = strings.TrimSpace(pid)
	require.NotEmpty(t, pid)
	for _, script := range []string{
		"cat /proc/$P/environ", "cat /proc/$P/maps", "head -c1 /proc/$P/mem", "ls /proc/$P/fd/", "readlink /proc/$P/exe", "cat /proc/$P/auxv",
		`python3 -c 'import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.ptrace(16, int(os.environ["P"]), 0, 0) and 1)'`,
	} {
		code, output := m.exec(t, e, "export P="+pid+"; "+script)
		require.NotZero(t, code, "%s: %s", script, output)
	}
	_, everything := m.exec(t, e, "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; grep -rIs pet_ /tmp /run /home /workspace /var/lib/poco /etc")
	require.Contains(t, everything, "EXECUTOR_ID="+spec.ExecutorID, "the first process can be looked into")
	require.NotContains(t, everything, spec.Token)
	// What it finds opens nothing, neither the runs nor the settings.
	for _, procedure := range []string{"poco.executor.v1.ExecutorService/GetStatus", "poco.config.v1.ConfigService/GetConfig"} {
		for _, token := range []string{config.Hashed(spec.Token), strings.TrimPrefix(config.Hashed(spec.Token), "sha256:")} {
			_, output := m.exec(t, e, "curl -s -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -H 'Authorization: Bearer "+token+"' -d '{}' http://127.0.0.1:8000/"+procedure)
			require.Equal(t, "401", output, procedure)
		}
	}
}

// exec runs a shell script in an executor's container.
func (m machine) exec(t *testing.T, e runtime.Executor, script string) (code int, output string) {
	t.Helper()
	created, err := m.engine.ExecCreate(t.Context(), e.Handle, client.ExecCreateOptions{
		AttachStdout: true, AttachStderr: true, Cmd: []string{"sh", "-c", script},
	})
	require.NoError(t, err)
	attached, err := m.engine.ExecAttach(t.Context(), created.ID, client.ExecAttachOptions{})
	require.NoError(t, err)
	defer attached.Close()
	var text bytes.Buffer
	_, err = stdcopy.StdCopy(&text, &text, attached.Reader)
	require.NoError(t, err)
	inspected, err := m.engine.ExecInspect(t.Context(), created.ID, client.ExecInspectOptions{})
	require.NoError(t, err)
	return inspected.ExitCode, text.String()
}
