package agent

import (
	"os"
	"slices"
	"strings"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/egress"
)

// passedThrough are the executor's own variables that an agent gets. Everything
// else, secrets above all, stays with the executor.
var passedThrough = []string{
	"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM",
	// By it the process runtime finds what an executor left behind.
	"EXECUTOR_ID",
}

// own are the beginnings of variables that Poco decides for every agent: who it is,
// what it loads, whom it trusts, and by what way it reaches the model.
var own = []string{
	"HOME", "USER", "LOGNAME", "IS_SANDBOX", "EXECUTOR_ID",
	"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "NODE_OPTIONS", "BUN_OPTIONS",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
	"NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// Variables are what any agent's program is started with, as NAME=VALUE, beside
// what it needs itself: those of the run's environment, except for those that Poco
// decides, for every agent or by the beginnings of their names for this one. These
// are named as ignored.
func (t *Task) Variables(decided ...string) (env, ignored []string) {
	set := map[string]bool{}
	for _, v := range t.Environment.GetVariables() {
		decides := func(beginning string) bool {
			return strings.HasPrefix(strings.ToUpper(v.GetName()), strings.ToUpper(beginning))
		}
		if slices.ContainsFunc(own, decides) || slices.ContainsFunc(decided, decides) {
			ignored = append(ignored, v.GetName())
			continue
		}
		env, set[v.GetName()] = append(env, v.GetName()+"="+v.GetValue()), true
	}
	env = append(env, "HOME="+t.HomeDir)
	for _, name := range passedThrough {
		if value, ok := os.LookupEnv(name); ok && !set[name] { //nolint:forbidigo // Passed on, not read: these are the machine's, not settings.
			env = append(env, name+"="+value)
		}
	}
	// The way out, where there is only one. It never leads to the gateway: a proxy
	// would see the run's token.
	return append(env, egress.List(egress.Environment(t.BaseURL))...), ignored
}

// VariablesIgnored tells of variables of the run's environment that were left out.
func VariablesIgnored(names []string) *executorv1.RunEventPayload {
	return Warning("variables_ignored", "Poco decides these variables itself, so they are not taken from the run's environment: "+strings.Join(names, ", "))
}

// InstructionText joins the instructions of the run's environment; empty for none.
func (t *Task) InstructionText() string {
	texts := make([]string, 0, len(t.Environment.GetInstructions()))
	for _, i := range t.Environment.GetInstructions() {
		texts = append(texts, i.GetText())
	}
	return strings.Join(texts, "\n\n")
}
