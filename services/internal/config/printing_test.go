package config_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"expvar"
	"fmt"
	"html/template"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/davecgh/go-spew/spew"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// printers write a value in the ways Go has, the ones that look into unexported
// fields included.
var printers = map[string]func(v any) string{
	"fmt": func(v any) string {
		var b strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% X", "%d", "%t", "%e", "%c", "%U", "%p", "%T", "%10.3v", "%-20s", "%[1]*[1]d", "%!"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		return b.String() + fmt.Sprint(v) + fmt.Sprintln(v)
	},
	"error": func(v any) string { return fmt.Errorf("wrapped: %v: %w", v, errors.New(fmt.Sprint(v))).Error() },
	"slog": func(v any) string {
		var b bytes.Buffer
		options := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&b, options), slog.NewJSONHandler(&b, options)} {
			logger := slog.New(handler).With("with", v).WithGroup("group")
			logger.Debug("message", "value", v, slog.Group("inner", "value", v))
		}
		return b.String()
	},
	"json": func(v any) string { return encoded(json.Marshal(v)) },
	"xml":  func(v any) string { return encoded(xml.Marshal(v)) },
	"gob": func(v any) string {
		var b bytes.Buffer
		err := gob.NewEncoder(&b).Encode(v)
		return encoded(b.Bytes(), err)
	},
	"template": func(v any) string {
		var b bytes.Buffer
		err := template.Must(template.New("").Parse("{{.}} {{printf `%#v` .}}")).Execute(&b, v)
		return encoded(b.Bytes(), err)
	},
	"expvar": func(v any) string { return expvar.Func(func() any { return v }).String() },
	"spew": func(v any) string {
		looking := spew.ConfigState{Indent: " ", DisableMethods: true, DisablePointerMethods: true, MaxDepth: 6}
		return looking.Sdump(v)
	},
	"protobuf": func(v any) string {
		msg, ok := v.(proto.Message)
		if !ok {
			return ""
		}
		data, err := proto.Marshal(msg)
		return prototext.Format(msg) + protojson.Format(msg) + encoded(data, err)
	},
}

// encoded is the outcome of an encoder, whose error may print the value, too.
func encoded(data []byte, err error) string { return string(data) + fmt.Sprint(err) }

// requireNoMark prints values in every way Go can and looks for a mark.
func requireNoMark(t *testing.T, mark string, values ...any) {
	t.Helper()
	for _, value := range values {
		for _, v := range []any{value, &value, struct{ V any }{value}, struct{ v any }{value}, []any{value}, map[string]any{"k": value}} {
			for name, printed := range printers {
				require.NotContains(t, printed(v), mark, "%s of %T", name, v)
			}
		}
	}
}

// marked loads a manager and a backend whose every secret has a mark, and returns
// all there is to print.
func marked(mark string) []any {
	manager, err := config.Load(&configv1.ManagerConfig{}, "manager", config.Sources{
		Environ: managerEnv("INTERNAL_API_TOKEN="+mark, "S3_ACCESS_KEY="+mark, "S3_SECRET_KEY="+mark, "ANTHROPIC_AUTH_TOKEN="+mark),
	})
	if err != nil {
		return []any{err}
	}
	environ := backendEnv("SECRET_KEY=" + mark)
	environ[0] = "DATABASE_URL=postgres://u:" + mark + "@h/d?sslpassword=" + mark
	backend, err := config.Load(&configv1.BackendConfig{}, "backend", config.Sources{Environ: environ})
	if err != nil {
		return []any{err}
	}
	_, refused := config.Load(&configv1.BackendConfig{}, "backend", config.Sources{
		Environ: []string{"SECRET_KEY=" + mark + "\n", "DATABASE_URL=" + mark, "PORT=" + mark, "APP_ENV=production", "INTERNAL_API_TOKEN=" + mark},
	})
	check := config.CheckEnvironment(config.Sources{Environ: managerEnv("S3_SECRET_KEY=" + mark)})
	return []any{
		manager, manager.Msg, manager.Current(), manager.Report(), manager.Secret("INTERNAL_API_TOKEN"),
		backend, backend.Msg, backend.Report(), backend.Secret("DATABASE_URL"), config.NewSecret(mark), refused, check,
	}
}

func TestPrinting(t *testing.T) {
	const mark = "s3cr3t-mark"
	values := marked(mark)
	require.Len(t, values, 12)
	requireNoMark(t, mark, values...)
}

const panicVariable = "POCO_TEST_PANIC"

// panicWith ends the process with one of the values of marked.
func panicWith(way string) {
	values := marked("s3cr3t-mark")
	for i, v := range values {
		if way == fmt.Sprint(i) {
			panic(v)
		}
	}
	panic(fmt.Sprintf("%+v %#v", values, values))
}

// TestPanics looks at what a process prints that ends with a secret at hand, the
// arguments in the trace included.
func TestPanics(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	for i := range 13 {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), panicVariable+"="+fmt.Sprint(i), "GOTRACEBACK=all")
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "panic: ")
		require.NotContains(t, string(out), "s3cr3t-mark")
	}
}
