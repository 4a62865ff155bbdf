package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/poco-ai/poco/db/dbtest"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/testkit"
)

var update = flag.Bool("update", false, "write the commands' output into docs/operations/configuration.md")

const (
	guidePath = "../../../../docs/operations/configuration.md"
	// mistakesPath is what a start says to a .env with twelve mistakes, as the
	// loader's own test has it.
	mistakesPath = "../../../internal/config/testdata/twelve-mistakes.golden"
)

// TestOperationsGuide runs every command of the operator's guide in the
// situation that the guide describes, and compares what it prints.
func TestOperationsGuide(t *testing.T) {
	data, err := os.ReadFile(guidePath)
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	d := newDeployment(t)
	blocks := consoles(lines)
	require.NotEmpty(t, blocks)
	require.Contains(t, lines, "```text", "the place of the report")
	outputs := make([][]string, len(blocks))
	for i, block := range blocks {
		for _, command := range block.commands {
			outputs[i] = append(outputs[i], "$ "+command)
			if output := d.poco(command); output != "" {
				outputs[i] = append(outputs[i], d.names.page(output)...)
			}
		}
	}
	report, err := os.ReadFile(mistakesPath)
	require.NoError(t, err)
	page := strings.Join(replaceReport(replaceBlocks(lines, blocks, outputs), string(report)), "\n")
	if *update {
		require.NoError(t, os.WriteFile(guidePath, []byte(page), 0o644))
		return
	}
	require.Equal(t, string(data), page, "the guide shows something else: go test ./services/poco/internal/e2e -run TestOperationsGuide -update")
}

// deployment is the situation of the guide: services that read one .env, with
// what operators do to it.
type deployment struct {
	t                          *testing.T
	dir                        string
	backend, manager, frontend *program
	other                      *program
	// secrets must be in no output.
	secrets []string
	names   guideNames
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{t: t, dir: t.TempDir()}
	s3 := testkit.S3(t)
	databaseURL := dbtest.Empty(t, testkit.Postgres(t))
	d.backend, d.frontend = newProgram(t, "backend", nil), newProgram(t, "frontend", nil)
	d.manager, d.other = newProgram(t, "manager", nil), newProgram(t, "manager", nil)
	token, otherToken := rand.Text()+rand.Text(), rand.Text()+rand.Text()
	d.secrets = []string{token, otherToken, "change-this-secret-key", s3.SecretKey.Reveal()}
	d.write(
		"DATABASE_URL="+databaseURL,
		"SECRET_KEY=change-this-secret-key",
		"INTERNAL_API_TOKEN="+token,
		"S3_ENDPOINT="+s3.Config.GetEndpoint(),
		"S3_ACCESS_KEY="+s3.AccessKey.Reveal(),
		"S3_SECRET_KEY="+s3.SecretKey.Reveal(),
		"S3_BUCKET="+s3.Config.GetBucket(),
		"BACKEND_URL="+d.backend.url(),
		"EXECUTOR_MANAGER_URL="+d.manager.url(),
		"CALLBACK_BASE_URL="+d.manager.url(),
		"WORKSPACE_ROOT="+filepath.Join(d.dir, "workspaces"),
		"EXECUTOR_RUNTIME=process",
		"MAX_CONCURRENT_TASKS=8",
		"LOG_LEVL=DEBUG",
		"UVICORN_ACCESS_LOG=true",
		"LOG_SQL=true",
	)
	d.start(d.backend, map[string]string{"HOST": "127.0.0.1", "PORT": strconv.Itoa(d.backend.port)})
	d.start(d.manager, map[string]string{
		"EXECUTOR_MANAGER_HOST": "127.0.0.1", "EXECUTOR_MANAGER_PORT": strconv.Itoa(d.manager.port), "MAX_CONCURRENT_TASKS": "2",
	})
	// With a token that the backend refuses it is never ready, and can be asked.
	d.launch(d.other, map[string]string{
		"EXECUTOR_MANAGER_HOST": "127.0.0.1", "EXECUTOR_MANAGER_PORT": strconv.Itoa(d.other.port), "CALLBACK_BASE_URL": d.other.url(),
		"WORKSPACE_ROOT": filepath.Join(d.dir, "workspaces-2"), "RUN_TIMEOUT_SECONDS": "600", "INTERNAL_API_TOKEN": otherToken,
	})
	d.start(d.frontend, map[string]string{"FRONTEND_HOST": "127.0.0.1", "FRONTEND_PORT": strconv.Itoa(d.frontend.port)})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	_, err := healthv1.NewHealthClient(d.other.dial(config.Secret{})).Check(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	d.write("LOG_LEVEL=WARNING", "RUN_IDLE_TIMEOUT_SECONDS=900")

	var exact []string
	cells := map[string]string{}
	for p, port := range map[*program]string{d.backend: "8000", d.manager: "8001", d.other: "8002", d.frontend: "3000"} {
		exact = append(exact, "127.0.0.1:"+strconv.Itoa(p.port), "localhost:"+port)
		cells[strconv.Itoa(p.port)] = port
	}
	exact = append(exact, s3.Config.GetEndpoint(), "http://localhost:9000", s3.Config.GetBucket(), "poco", d.dir, "/srv/poco")
	d.names = guideNames{exact: strings.NewReplacer(exact...), cells: cells}
	return d
}

// write adds lines to the .env file that all services read.
func (d *deployment) write(lines ...string) {
	d.t.Helper()
	file, err := os.OpenFile(filepath.Join(d.dir, ".env"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	require.NoError(d.t, err)
	_, err = fmt.Fprintln(file, strings.Join(lines, "\n"))
	require.NoError(d.t, err)
	require.NoError(d.t, file.Close())
}

func (d *deployment) start(p *program, env map[string]string) {
	d.t.Helper()
	d.launch(p, env)
	p.awaitServing()
}

func (d *deployment) launch(p *program, env map[string]string) {
	d.t.Helper()
	delete(p.env, "LOG_LEVEL")
	p.env["POCO_ENV_FILE"] = filepath.Join(d.dir, ".env")
	for name, value := range env {
		p.env[name] = value
	}
	p.launch()
}

// poco runs a line of the guide as a shell would, and returns all that it
// prints.
func (d *deployment) poco(line string) string {
	d.t.Helper()
	env := []string{"HOME=" + d.dir, "PATH=" + binDir + ":" + os.Getenv("PATH")}
	if !strings.Contains(line, "config check") { // which needs no service, and would look at these
		env = append(env, "POCO_URL="+d.backend.url(), "POCO_MANAGER_URL="+d.manager.url(), "POCO_FRONTEND_URL="+d.frontend.url())
	}
	line = strings.NewReplacer("http://localhost:8001", d.manager.url(), "http://localhost:8002", d.other.url()).Replace(line)
	cmd := exec.CommandContext(d.t.Context(), "sh", "-c", line)
	cmd.Dir, cmd.Env = d.dir, env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		d.t.Logf("%s: %v", line, err) // the guide tells exit codes
	}
	for _, secret := range d.secrets {
		require.NotContains(d.t, out.String(), secret, line)
	}
	return out.String()
}
