package scriptedmodel

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// messagesRequest is the part of a Messages API request that is read.
type messagesRequest struct {
	Model     string            `json:"model"`
	MaxTokens int               `json:"max_tokens"`
	Stream    bool              `json:"stream"`
	System    content           `json:"system"`
	Messages  []message         `json:"messages"`
	Tools     []json.RawMessage `json:"tools"`
	Metadata  struct {
		UserID string `json:"user_id"`
	} `json:"metadata"`
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

type contentBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   content         `json:"content"`
}

// content is a string or a list of blocks.
type content []contentBlock

// UnmarshalJSON reads both forms.
func (c *content) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*c = content{{Type: "text", Text: s}}
		return nil
	}
	var blocks []contentBlock
	if err := json.Unmarshal(data, &blocks); err != nil {
		return fmt.Errorf("content is neither a string nor a list of blocks: %w", err)
	}
	*c = blocks
	return nil
}

func (c content) text() string {
	var parts []string
	for _, b := range c {
		if b.Type == "text" {
			parts = append(parts, b.Text)
		}
	}
	return strings.Join(parts, "\n")
}

func (c content) callsTool() bool {
	return slices.ContainsFunc(c, func(b contentBlock) bool { return b.Type == "tool_use" })
}

func (r *messagesRequest) validate() error {
	switch {
	case r.Model == "":
		return errors.New("model: field required")
	case len(r.Messages) == 0:
		return errors.New("messages: at least one message is required")
	}
	// As the real API does, insist that every tool call is answered.
	open := map[string]bool{}
	for i, m := range r.Messages {
		switch m.Role {
		case "user":
			for _, b := range m.Content {
				if b.Type == "tool_result" {
					delete(open, b.ToolUseID)
				}
			}
			if len(open) > 0 {
				return fmt.Errorf("messages.%d: tool_use without tool_result", i)
			}
		case "assistant":
			for _, b := range m.Content {
				if b.Type == "tool_use" {
					open[b.ID] = true
				}
			}
		case "system":
		default:
			return fmt.Errorf("messages.%d.role: %q is not a role", i, m.Role)
		}
	}
	return nil
}

var (
	markerPattern = regexp.MustCompile(`\[\[([a-z0-9_]+)(?::([^\]]*))?\]\]`)
	// What the CLI tells the model is no prompt: reminders, and that something in
	// the background has ended.
	reminderPattern = regexp.MustCompile(`(?s)<system-reminder>.*?</system-reminder>|<task-notification>.*?</task-notification>` +
		`|<environment_context>.*?</environment_context>`)
	cwdPattern         = regexp.MustCompile(`(?im)working directory: *(\S.*)$|<cwd>(.*?)</cwd>`)
	taskPattern        = regexp.MustCompile(`Task #(\S+) created`)
	answerPattern      = regexp.MustCompile(`"(?:=|answers":\[)"((?:[^"\\]|\\.)*)"`)
	continuePattern    = regexp.MustCompile(`(?i)^continue\b|Continue from where you left off\.$`)
	placeholderPattern = regexp.MustCompile(`\{([a-z_]+)(?::([0-9]+))?(?:\|([^}]*))?\}`)
)

// noAnswer is what the CLI puts in the model's mouth when it resumes a
// conversation that was cut off behind a tool's result.
const noAnswer = "No response requested."

// interruptedPrefix starts what the CLI adds to the history for an interrupt.
const interruptedPrefix = "[Request interrupted"

// conversation is what the history of a request says about where in which
// scenario the conversation is. It is derived from the request alone, so the
// endpoint keeps no state for it and a resumed conversation just goes on.
type conversation struct {
	scenario string
	arg      string
	// step counts the assistant's turns since the last prompt.
	step int
	// turns counts the assistant's turns in all.
	turns       int
	prompt      string
	firstPrompt string
	prompts     int
	cwd         string
	answer      string
	output      string
	tasks       []string
	session     string
}

// userPrompt returns what a person wrote in a user message: not tool results
// and not what the CLI adds for the model only.
func userPrompt(m message) string {
	var parts []string
	for _, b := range m.Content {
		if b.Type != "text" {
			continue
		}
		s := strings.TrimSpace(reminderPattern.ReplaceAllString(b.Text, ""))
		if s == "" || strings.HasPrefix(s, interruptedPrefix) {
			continue
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "\n")
}

// readConversation finds out where a conversation is. whole tells whether an
// answer is all of the turn that it belongs to.
func readConversation(r *messagesRequest, whole func(c *conversation, said content) bool) conversation {
	c := conversation{scenario: DefaultScenario, session: r.Metadata.UserID}
	cutOff := false // whether the last answer was
	for _, m := range r.Messages {
		if m.Role == "assistant" {
			if m.Content.text() == noAnswer {
				continue
			}
			cutOff = !whole(&c, m.Content)
			c.step++
			c.turns++
			continue
		}
		if m.Role != "user" {
			continue
		}
		switch p := userPrompt(m); {
		case p == "":
		case continuePattern.MatchString(p) && c.prompts > 0 && !markerPattern.MatchString(p):
			// The scenario goes on. Of a turn that broke off, or whose tools were
			// not answered when the CLI was killed, the history has a part: it is
			// played again.
			if c.step > 0 && cutOff {
				c.step--
				cutOff = false
			}
		default:
			c.startPrompt(p)
		}
		for _, b := range m.Content {
			if b.Type == "tool_result" {
				c.readToolResult(b.Content.text())
			}
		}
	}
	for _, said := range append([]message{{Content: r.System}}, r.Messages...) {
		if found := cwdPattern.FindStringSubmatch(said.Content.text()); found != nil {
			c.cwd = strings.TrimSpace(cmp.Or(found[1:]...))
			break
		}
	}
	return c
}

// id names the answer: unique over all conversations, and the same in each replay.
func (c *conversation) id() string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(c.session)) // hash.Hash never returns an error.
	return fmt.Sprintf("%s_%08x_%d", c.scenario, hash.Sum32(), c.turns)
}

func (c *conversation) startPrompt(p string) {
	c.prompts++
	if c.firstPrompt == "" {
		c.firstPrompt = p
	}
	c.prompt, c.step, c.arg, c.answer, c.output, c.tasks = p, 0, "", "", "", nil
	c.scenario = DefaultScenario
	if all := markerPattern.FindAllStringSubmatch(p, -1); all != nil {
		last := all[len(all)-1]
		c.scenario, c.arg = last[1], last[2]
	}
}

func (c *conversation) readToolResult(s string) {
	c.output = s
	if found := taskPattern.FindStringSubmatch(s); found != nil {
		c.tasks = append(c.tasks, found[1])
	}
	if found := answerPattern.FindStringSubmatch(s); found != nil {
		c.answer = found[1]
	}
}

// expand fills in placeholders: {name}, {name|default}, {task:N}.
func (c *conversation) expand(s string) string {
	return placeholderPattern.ReplaceAllStringFunc(s, func(match string) string {
		found := placeholderPattern.FindStringSubmatch(match)
		value, known := c.value(found[1], found[2])
		if !known {
			return match
		}
		if value == "" {
			return found[3]
		}
		return value
	})
}

func (c *conversation) value(name, number string) (string, bool) {
	switch name {
	case "prompt":
		return c.prompt, true
	case "first_prompt":
		return c.firstPrompt, true
	case "prompts":
		return strconv.Itoa(c.prompts), true
	case "suffix":
		// Keeps the files of follow-up prompts apart: the CLI refuses to
		// overwrite a file it has not read.
		if c.prompts > 1 {
			return "-" + strconv.Itoa(c.prompts), true
		}
		return "", true
	case "cwd":
		return c.cwd, true
	case "answer":
		return c.answer, true
	case "arg":
		return c.arg, true
	case "output":
		return c.output, true
	case "task":
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > len(c.tasks) {
			return number, true
		}
		return c.tasks[n-1], true
	default:
		return "", false
	}
}

// expandInput fills in the placeholders of a tool's input, at any depth.
func (c *conversation) expandInput(v any) any {
	switch v := v.(type) {
	case string:
		return c.expand(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = c.expandInput(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = c.expandInput(value)
		}
		return out
	default:
		return v
	}
}
