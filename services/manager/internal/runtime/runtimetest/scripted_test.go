package runtimetest_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poco-ai/poco/services/manager/internal/runtime"
	"github.com/poco-ai/poco/services/manager/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestScriptedContract(t *testing.T) {
	machine := runtimetest.NewMachine(nil)
	runtimetest.Contract(t, runtimetest.Harness{
		Host: "127.0.0.1", Listen: "127.0.0.1",
		Open: func(_ *testing.T, worker string, startTimeout time.Duration) runtime.Runtime {
			return machine.Runtime(worker, startTimeout)
		},
		Workspace: func(t *testing.T) string { t.Helper(); return t.TempDir() },
		Kill:      func(_ *testing.T, e runtime.Executor) { machine.Kill(e.ID) },
		Leftovers: func(_ *testing.T, id string) (left []string) {
			for _, e := range machine.Executors() {
				if e.ID == id {
					left = append(left, e.ID)
				}
			}
			return left
		},
	})
}
