package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/conversation"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// follow shows a session as the flags say and turns its outcome into an error.
func (c *cli) follow(ctx context.Context, follower *conversation.Follower, asJSON, prompts bool) error {
	screen := c.screen()
	asks := !asJSON && c.interactive()
	if asJSON {
		follower.View = &jsonView{out: c.out, err: c.err}
	} else {
		renderer := terminal.NewRenderer(c.out, terminal.Options{
			Color: screen.color, Live: screen.terminal, Width: screen.width, ShowPrompts: prompts, Asks: asks,
		})
		follower.View, follower.Out, follower.Color = renderer, renderer.Out(), screen.color
	}
	if asks {
		follower.Lines = func() <-chan string { return lines(c.in) }
	}
	outcome, err := follower.Run(ctx)
	comeBack := "poco attach " + follower.Watch.SessionID
	switch {
	case errors.Is(err, client.ErrConnectionLost):
		return &exitError{exitLost, fmt.Errorf("%w; when it is back, go on with: %s", err, comeBack)}
	case errors.Is(err, conversation.ErrOutput):
		return &exitError{exitDetached, fmt.Errorf("%w; the run goes on, come back with: %s", err, comeBack)}
	case err != nil:
		return c.refused(follower.Backend, err)
	}
	switch outcome {
	case conversation.Failed:
		return &exitError{exitFailed, nil}
	case conversation.Canceled:
		return &exitError{exitCanceled, nil}
	case conversation.Detached:
		return &exitError{exitDetached, nil}
	default:
		return nil
	}
}

// lines reads lines until the input's end. Its goroutine waits in the input's
// Read and ends with the input or with the program.
func lines(in io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			out <- scanner.Text()
		}
	}()
	return out
}

// jsonView prints one event a line in protobuf's canonical JSON; its notes go
// to stderr.
type jsonView struct{ out, err io.Writer }

func (v *jsonView) Event(event *backendv1.SessionEvent) error { return writeJSON(v.out, event) }

func (v *jsonView) Partial(*backendv1.PartialContent) error { return nil }

func (v *jsonView) Note(format string, args ...any) error { return v.Warn(format, args...) }

func (v *jsonView) Warn(format string, args ...any) error {
	_, err := fmt.Fprintln(v.err, terminal.Clean(fmt.Sprintf(format, args...)))
	return err
}

// writeJSON prints a message on one line.
func writeJSON(out io.Writer, message proto.Message) error {
	text, err := protojson.Marshal(message)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // protojson varies its spaces
		return err
	}
	line.WriteByte('\n')
	_, err = out.Write(line.Bytes())
	return err
}
