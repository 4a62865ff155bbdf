package watch_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The test server's child process is waited for as long as the tests run.
		goleak.IgnoreAnyFunction("github.com/poco-ai/poco/services/internal/embedded.startChild.func1"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"),
	)
}
