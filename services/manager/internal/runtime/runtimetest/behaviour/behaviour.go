// Package behaviour names how an executor of a test shall behave. The test
// executor and the contract suite share it.
package behaviour

// Var is the environment variable (runtime.Spec.Env) that chooses one.
const Var = "TEST_EXECUTOR_BEHAVIOUR"

// The behaviours; without one the executor answers and ends on SIGTERM.
const (
	// ExitsAtStart says LastWords and exits with StartExitCode.
	ExitsAtStart = "exits-at-start"
	// Silent never answers.
	Silent = "silent"
	// Stubborn answers and ignores SIGTERM.
	Stubborn = "stubborn"
)

const (
	// StartExitCode is how ExitsAtStart exits.
	StartExitCode = 3
	// LastWords is what ExitsAtStart logs.
	LastWords = "cannot go on"
	// Farewell is what an executor logs when SIGTERM ends it.
	Farewell = "asked to end"
)
