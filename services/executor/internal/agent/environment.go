package agent

import (
	"os"

	"github.com/poco-ai/poco/services/internal/egress"
)

// passedThrough are the executor's own variables that an agent gets. Everything
// else, secrets above all, stays with the executor.
var passedThrough = []string{
	"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM",
	// By it the process runtime finds what an executor left behind.
	"EXECUTOR_ID",
}

// Environment is what any agent's program is started with, beside what it needs
// itself.
func (t *Task) Environment() []string {
	env := []string{"HOME=" + t.HomeDir}
	for _, name := range passedThrough {
		if value, ok := os.LookupEnv(name); ok { //nolint:forbidigo // Passed on, not read: these are the machine's, not settings.
			env = append(env, name+"="+value)
		}
	}
	// The way out, where there is only one. It never leads to the gateway: a proxy
	// would see the run's token.
	return append(env, egress.List(egress.Environment(t.BaseURL))...)
}
