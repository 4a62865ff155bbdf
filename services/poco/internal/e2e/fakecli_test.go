package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test program stands in for the CLI where hundreds of runs are wanted, or
// a CLI that misbehaves. A script calls it, because the executor gives its CLI
// a clean environment. What it does is in the mode:
const (
	cliCompletes = "completes" // answers, and leaves a mark of the prompt
	cliGarbage   = "garbage"   // prints lines that are no JSON, then answers
	cliSilent    = "silent"    // never answers anything
	cliDies      = "dies"      // ends with code 7 once it has the prompt
	cliStreams   = "streams"   // says as much as the prompt tells, see streamPrompt
)

const fakeCLIArgument = "fake-cli"

func fakeCLIRequested() bool { return len(os.Args) > 3 && os.Args[1] == fakeCLIArgument }

// newFakeCLI writes the script and returns it with the folder of the marks,
// one file for each time a prompt was executed.
func newFakeCLI(t testing.TB, mode string) (script, marks string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	marks = filepath.Join(dir, "marks")
	require.NoError(t, os.Mkdir(marks, 0o700))
	script = filepath.Join(dir, "claude")
	content := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = --version ] && { echo '2.1.197 (Claude Code)'; exit 0; }\nexec %q %s %s %q\n", self, fakeCLIArgument, mode, marks)
	require.NoError(t, os.WriteFile(script, []byte(content), 0o700)) //nolint:gosec // it has to be executable
	return script, marks
}

// fakeCLI speaks just enough of the CLI's protocol.
func fakeCLI() int {
	mode, marks := os.Args[2], os.Args[3]
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	say := func(message any) {
		line, err := json.Marshal(message)
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.Write(append(line, '\n'))
	}
	type object = map[string]any
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return 0
		}
		var message struct {
			Type      string `json:"type"`
			RequestID string `json:"request_id"`
			Message   struct {
				Content any `json:"content"`
			} `json:"message"`
		}
		if json.Unmarshal(line, &message) != nil {
			return 3
		}
		switch {
		case mode == cliSilent:
		case message.Type == "control_request":
			say(object{"type": "control_response", "response": object{"subtype": "success", "request_id": message.RequestID, "response": object{}}})
		case message.Type == "user" && mode == cliDies:
			fmt.Fprintln(os.Stderr, "the fake CLI gives up")
			return 7
		case message.Type == "user":
			if mode == cliGarbage {
				fmt.Println("this is no JSON {")
				fmt.Println("\x00\x01 nor is this")
			}
			mark, err := os.CreateTemp(marks, "run-")
			if err == nil {
				_, err = fmt.Fprint(mark, message.Message.Content)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 4
			}
			const session = "11111111-2222-3333-4444-555555555555"
			say(object{"type": "system", "subtype": "init", "session_id": session, "model": "fake", "cwd": ".", "tools": []string{}, "claude_code_version": "2.1.197"})
			if mode == cliStreams {
				stream(message.Message.Content, func(id, text string) {
					say(object{"type": "assistant", "session_id": session, "message": object{"id": id, "role": "assistant", "content": []object{{"type": "text", "text": text}}}})
				})
			}
			say(object{"type": "assistant", "session_id": session, "message": object{"id": "msg_1", "role": "assistant", "content": []object{{"type": "text", "text": "fine"}}}})
			say(object{"type": "result", "subtype": "success", "is_error": false, "session_id": session, "result": "fine", "num_turns": 1, "total_cost_usd": 0.001, "usage": object{"input_tokens": 1, "output_tokens": 1}})
		}
	}
}
