// Package agent is what the executor knows of agents: what it asks of one and what it
// hears. Each agent is a Driver in a package of its own.
package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// Driver makes agents of one kind. Its methods may be called from any goroutine.
type Driver interface {
	// Name is the agent's in TaskConfig.agent, and its private folder's below the
	// session's state.
	Name() string
	// Capabilities are what the agent can do beyond working on a prompt.
	Capabilities() Capabilities
	// Took returns the conversation that has the prompt with an id; empty when
	// no agent with this private folder took it.
	Took(stateDir, promptID string) (conversation string, err error)
	// Whole tells whether a conversation has its beginning, so that it may be
	// resumed. One that is not there at all is for the agent to miss.
	Whole(stateDir, conversation string) bool
	// New returns an agent that has not started. It fails when its program is not
	// there; the error says what to do.
	New(task Task, sink Sink) (Agent, error)
}

// Drivers are the agents that an executor has.
type Drivers []Driver

// Find returns the driver of a name. The error tells which there are.
func (d Drivers) Find(name string) (Driver, error) {
	names := make([]string, 0, len(d))
	for _, driver := range d {
		if driver.Name() == name {
			return driver, nil
		}
		names = append(names, driver.Name())
	}
	return nil, fmt.Errorf("the executor has no agent %q, only %s: its version may be older than the backend's", name, strings.Join(names, ", "))
}

// Agent works on one task. Run is called once; the other methods may be called
// from any goroutine, before, during and after it.
type Agent interface {
	// Run works until the agent has ended, and everything that it started. When ctx
	// ends first, it is killed at once, and the outcome is that of the context's
	// cause, if that is a StopError.
	Run(ctx context.Context) Outcome
	// End asks the agent to stop: it is interrupted, and killed when that does not
	// help. The run ends with the given outcome; the first one counts.
	End(outcome Outcome)
	// Answer gives a person's answers to the questions of a request, by the ids that
	// they were asked under. It does nothing for a request that is not waiting (any
	// more). It returns when the answers are on their way to the agent, or the agent
	// has ended.
	Answer(id string, answers []*backendv1.UserAnswer)
	// Decline tells the agent that a question will not be answered. Otherwise it is
	// like Answer.
	Decline(id string)
	// Hold stops the agent where it is: nothing of it does anything until Release.
	Hold()
	// Release lets the agent go on. The time it was held does not count as silence.
	Release()
}

// Capabilities are what a kind of agent can do. What it cannot, a run that needs
// it is refused for.
type Capabilities struct {
	// Questions: it asks its user by a tool of its own.
	Questions bool
	// Plans: it knows PERMISSION_MODE_PLAN, and has its user approve a plan.
	Plans bool
	// Todos: it keeps a to-do list.
	Todos bool
	// Background: what it starts may outlive its turn, and wakes it at its end.
	Background bool
	// Cost: it tells what it costs, so that Task.MaxCostUSD is kept.
	Cost bool
	// Turns: it counts model turns, so that Task.MaxTurns is kept.
	Turns bool
	// Tokens: it counts tokens while it works, so that Task.MaxTokens is kept.
	Tokens bool
	// Credential: it tells when the model API refuses the credential.
	Credential bool
	// Recovers: one that is resumed reports what the one before had said and
	// nobody heard.
	Recovers bool
}

// Check says what a task asks for that the agent cannot do: a limit that is not
// kept is none.
func (c Capabilities) Check(task Task) error {
	switch {
	case task.PermissionMode == backendv1.PermissionMode_PERMISSION_MODE_PLAN && !c.Plans:
		return errors.New("it has no plan mode: leave permission_mode out")
	case task.MaxTurns > 0 && !c.Turns:
		return errors.New("it does not count its turns, so that max_turns could not be kept: leave it out")
	case task.MaxCostUSD > 0 && !c.Cost:
		return errors.New("it does not tell what it costs, so that max_cost_usd, or RUN_MAX_COST_USD, could not be kept: leave it out")
	case task.MaxTokens > 0 && !c.Tokens:
		return errors.New("it does not count tokens while it works, so that max_tokens, or RUN_MAX_TOKENS, could not be kept: leave it out")
	default:
		return nil
	}
}

// Task is what is asked of an agent.
type Task struct {
	// Dir is the working directory.
	Dir string
	// StateDir is the agent's private folder, for its conversations and settings.
	StateDir string
	// HomeDir is the agent's own home. The executor's is not for it: its shells
	// would run a person's login scripts, and find a person's keys.
	HomeDir string
	// BaseURL and Token of the model API.
	BaseURL, Token string
	Model          string
	PermissionMode backendv1.PermissionMode
	// ResumeID is the conversation to go on with; empty for a new one.
	ResumeID string
	// Prompt is the user's message, PromptID a UUID by which Driver.Took finds it
	// again.
	Prompt, PromptID string
	// Resumes is set when an agent before this one has had the prompt.
	Resumes *Resumption
	// Environment has the MCP servers, variables and instructions that are the
	// driver's to apply; what it cannot, it tells. Files are where they belong.
	Environment *executorv1.RunEnvironment
	MaxTurns    int32
	// MaxCostUSD and MaxTokens bound the run; zero means no limit.
	MaxCostUSD float64
	MaxTokens  int64
	// IdleTimeout is the longest silence of the agent while nothing of it is known
	// to be under way; zero means no limit. A tool at work, a task in the
	// background and waiting for a person do not count.
	IdleTimeout time.Duration
	// BackgroundTimeout is how long what was started in the background may go on
	// after the last turn, without a sign of life; zero means no limit.
	BackgroundTimeout time.Duration
	// UserInputTimeout is how long a question waits; zero means
	// DefaultUserInputTimeout.
	UserInputTimeout time.Duration
}

// DefaultUserInputTimeout is how long a question waits when nothing else is said.
const DefaultUserInputTimeout = 30 * time.Minute

// Resumption is what is known of the agent that was lost.
type Resumption struct {
	// PromptID is the id of the prompt that it was given.
	PromptID string
	// Reported has the ids of its messages that are in the record.
	Reported map[string]bool
	// Latest are the last of them as the agent's program printed them, oldest first.
	Latest []string
}

// ContinuePrompt is what a resumed agent is told that already has the prompt. Its
// commands ended with the executor before; one in the background looks to it as if
// it went on.
const ContinuePrompt = "Continue from where you left off. You were interrupted, and every command and task that you had started was ended, " +
	"also in the background: look at what they have done before you rely on it."

// Sink takes what the agent does. It is called from one goroutine.
type Sink interface {
	// Emit takes an event.
	Emit(payload *executorv1.RunEventPayload)
	// Partial takes text that is being written.
	Partial(partial *backendv1.PartialContent)
	// FilesMayHaveChanged is called after a tool that may write files answered.
	FilesMayHaveChanged()
	// Room returns nil when more events can be taken, else a channel that is
	// closed when they can. Until then the agent's output is not read.
	Room() <-chan struct{}
}

// Codes of notices that any agent's driver may have to give.
const (
	// NoticeGarbage: the agent's program printed what is no message.
	NoticeGarbage = "agent_garbage"
	// NoticeWithdrawn: the agent does not ask any more.
	NoticeWithdrawn = "question_withdrawn"
	// NoticeWaiting: the turn is over, and something of the agent still works.
	NoticeWaiting = "background_waiting"
	// NoticeStopped: what worked in the background was ended.
	NoticeStopped = "background_stopped"
)

// Warning is an event that tells a person something that they should know.
func Warning(code, text string) *executorv1.RunEventPayload {
	return notice(backendv1.Notice_LEVEL_WARNING, code, text)
}

// Information is an event that tells a person something that they may want to
// know.
func Information(code, text string) *executorv1.RunEventPayload {
	return notice(backendv1.Notice_LEVEL_INFO, code, text)
}

func notice(level backendv1.Notice_Level, code, text string) *executorv1.RunEventPayload {
	return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_Notice{Notice: &backendv1.Notice{
		Level: level, Code: code, Text: text,
	}}}
}
