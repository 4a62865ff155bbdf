package growth_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The test server's child process is waited for as long as the tests run.
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"),
	)
}
