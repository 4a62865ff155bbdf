package scriptedmodel

import (
	"encoding/json"
	"net/http"
	"time"
)

// DefaultScenario is played for prompts without a known marker.
const DefaultScenario = "default"

const (
	// slowPause is between the pieces of the slow scenario: about ten seconds
	// in all, long enough to watch, cancel or kill something.
	slowPause = 100 * time.Millisecond
	// bigOutputBytes is what the big scenario prints. The CLI itself cuts tool
	// output at 30,000 characters by default.
	bigOutputBytes = "3000000"
)

// Builtin returns the built-in scenarios.
func Builtin() []Scenario {
	return []Scenario{
		{Name: DefaultScenario, Turns: []Turn{turn(text(
			"Hello! I am Poco's scripted model: I play written scenarios and think about nothing. " +
				"You asked: \"{prompt}\". Everything around me is real: the queue, the executor, the Claude Code CLI. " +
				"Put [[demo]] into a prompt to see more, or set ANTHROPIC_AUTH_TOKEN to talk to a real model.",
		))}},
		demo(),
		{Name: "bash", Turns: []Turn{
			turn(text("Running a command."), bash("{arg|echo hi > out.txt && cat out.txt}", "run the command")),
			turn(text("The command printed: {output}")),
		}},
		{Name: "background", Turns: []Turn{
			turn(text("Starting a command."), background("{arg|sleep 2; echo built > built.txt}")),
			turn(text("The command runs in the background.")),
			turn(text("The command in the background has ended.")),
		}},
		{Name: "subagent", Turns: []Turn{
			turn(tool("Task", map[string]any{
				"description": "run a command", "prompt": "[[bash:{arg|echo sub}]]", "subagent_type": "general-purpose", "run_in_background": true,
			})),
			turn(text("A sub-agent works in the background.")),
			turn(text("The sub-agent has ended.")),
		}},
		{Name: "fail", Turns: []Turn{
			turn(bash("echo broken >&2; exit 3", "fail")),
			turn(text("The command failed: {output}")),
		}},
		{Name: "ask", Turns: []Turn{
			turn(question("Which color?", "Color", "Red", "Blue")),
			turn(text("You chose: {answer|nothing}.")),
		}},
		{Name: "write", Turns: []Turn{
			turn(tool("Write", map[string]any{"file_path": "{cwd}/a{suffix}.txt", "content": "line1\nline2\n"})),
			turn(tool("Edit", map[string]any{"file_path": "{cwd}/a{suffix}.txt", "old_string": "line2", "new_string": "line two"})),
			turn(text("Wrote and edited a{suffix}.txt.")),
		}},
		{Name: "todo", Turns: []Turn{
			turn(taskCreate("Write the file", "Writing the file")),
			turn(taskUpdate("1", "in_progress")),
			turn(bash("echo done > todo.txt", "write the file"), taskUpdate("1", "completed")),
			turn(text("All tasks done.")),
		}},
		{Name: "think", Turns: []Turn{turn(Block{Thinking: "Let me think about it."}, text("Answer."))}},
		{Name: "plan", Turns: []Turn{
			turn(tool("ExitPlanMode", map[string]any{"plan": "1. Do it."})),
			turn(text("Plan: {output}")),
		}},
		{Name: "slow", Turns: []Turn{
			turn(Block{Pause: slowPause, Text: slowText}),
		}},
		{Name: "sleep", Turns: []Turn{
			turn(text("Sleeping."), bash("sleep {arg|30}", "sleep")),
			turn(text("Awake again.")),
		}},
		{Name: "waitfile", Turns: []Turn{
			turn(text("Waiting for {arg|go}."), bash("touch waiting; until [ -e {arg|go} ]; do sleep 0.05; done; echo seen", "wait for a file")),
			turn(text("The file is there.")),
		}},
		{Name: "gate", Turns: []Turn{
			turn(text("Before the gate."), bash("echo one", "first step")),
			{Wait: "{arg|gate}", Blocks: []Block{text("Behind the gate.")}},
		}},
		{Name: "memory", Turns: []Turn{turn(text("The first thing you said was: \"{first_prompt}\". This is prompt number {prompts}."))}},
		{Name: "error401", Turns: []Turn{{Error: &Error{
			Status: http.StatusUnauthorized, Type: "authentication_error", Message: "invalid bearer token",
		}}}},
		{Name: "error400", Turns: []Turn{{Error: &Error{
			Status: http.StatusBadRequest, Type: "invalid_request_error", Message: "the scripted model refuses this request",
		}}}},
		{Name: "overload529", Turns: []Turn{{
			Error:  &Error{Status: 529, Type: "overloaded_error", Message: "Overloaded", Times: 1},
			Blocks: []Block{text("Served after one retry.")},
		}}},
		{Name: "retry", Turns: []Turn{{
			Error:  &Error{Status: 529, Type: "overloaded_error", Message: "Overloaded", Times: 2},
			Blocks: []Block{text("Served after two retries.")},
		}}},
		{Name: "broken", Turns: []Turn{{
			Blocks: []Block{text("An answer that breaks off.")},
			Break:  &Break{Error: &Error{Type: "overloaded_error", Message: "Overloaded"}, Times: 1},
		}}},
		{Name: "cut", Turns: []Turn{{Blocks: []Block{text("An answer that is cut.")}, Break: &Break{Times: 1}}}},
		{Name: "ends", Turns: []Turn{
			turn(bash("echo one", "first step")),
			{Blocks: []Block{text("An answer without an end.")}, Break: &Break{Ends: true, Times: 1}},
		}},
		{Name: "plans", Turns: []Turn{
			turn(tool("EnterPlanMode", map[string]any{})),
			turn(tool("Write", map[string]any{"file_path": "{cwd}/planned.txt", "content": "too early"})),
			turn(bash("echo early > early.txt", "begin without approval")),
			turn(tool("ExitPlanMode", map[string]any{"plan": "1. Do it."})),
			turn(text("Plan: {output}"), bash("echo done > done.txt", "carry out the plan")),
			turn(text("That was the plan.")),
		}},
		{Name: "hang", Turns: []Turn{{Hang: true}}},
		{Name: "nul", Turns: []Turn{
			turn(bash(`printf 'before\000after \355\240\275 end'`, "print a NUL byte and half a surrogate")),
			turn(Block{RawText: json.RawMessage(`"Half a surrogate: \ud83d and a NUL: \u0000."`)}),
		}},
		{Name: "big", Turns: []Turn{
			turn(bash("head -c {arg|"+bigOutputBytes+"} /dev/zero | tr '\\0' x", "print a lot")),
			turn(text("That was a lot.")),
		}},
		{Name: "costly", Turns: []Turn{
			{Blocks: []Block{bash("echo one", "first step")}, Usage: Usage{InputTokens: 1_000_000, OutputTokens: 100_000}},
			{Blocks: []Block{bash("echo two", "second step")}, Usage: Usage{InputTokens: 1_000_000, OutputTokens: 100_000}},
			turn(text("That was expensive.")),
		}},
	}
}

// demo shows everything a run can do: text arriving, to-dos moving to done, a
// question, a file written and edited, a command, and a closing text that
// knows the answer.
func demo() Scenario {
	file := "{cwd}/greeting{suffix}.sh"
	return Scenario{Name: "demo", Turns: []Turn{
		turn(
			text("I will write a small greeting script, in the language you like, and run it. First, a plan."),
			taskCreate("Write the greeting", "Writing the greeting"),
			taskCreate("Run the greeting", "Running the greeting"),
		),
		turn(
			taskUpdate("1", "in_progress"),
			question("Which language should the greeting be in?", "Language", "English", "Spanish", "German"),
		),
		turn(
			text("{answer|English} it is."),
			tool("Write", map[string]any{
				"file_path": file,
				"content":   "#!/bin/sh\n# A greeting.\necho \"Hello\"\n",
			}),
		),
		turn(tool("Edit", map[string]any{
			"file_path":  file,
			"old_string": "echo \"Hello\"",
			"new_string": "language='{answer|English}'\necho \"Hello in $language from $(uname -s)\"",
		})),
		turn(
			taskUpdate("1", "completed"),
			taskUpdate("2", "in_progress"),
			bash("sh greeting{suffix}.sh", "Run the greeting"),
		),
		turn(taskUpdate("2", "completed")),
		turn(text("Done. You chose {answer|English}, so greeting{suffix}.sh greets in {answer|English}. It works: I ran it.")),
	}}
}

func taskCreate(subject, activeForm string) Block {
	return tool("TaskCreate", map[string]any{"subject": subject, "description": subject + ".", "activeForm": activeForm})
}

// taskUpdate names a task by its position among the prompt's TaskCreate calls:
// the CLI gives the id.
func taskUpdate(position, status string) Block {
	return tool("TaskUpdate", map[string]any{"taskId": "{task:" + position + "}", "status": status})
}

var slowText = func() string {
	s := ""
	for range 100 {
		s += "Still writing, without any hurry. "
	}
	return s
}()
