package acp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/coder/acp-go-sdk"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/executor/internal/agent"
)

// question is a form that a person is to fill in: each field of it is a question.
type question struct {
	fields []field
	// reply takes the content of the form once; nil when there is none.
	reply chan map[string]any
}

// field is a property of a form.
type field struct {
	name        string
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Enum        []string `json:"enum"`
	OneOf       []choice `json:"oneOf"`
	Items       struct {
		Enum  []string `json:"enum"`
		AnyOf []choice `json:"anyOf"`
	} `json:"items"`
	Meta struct {
		Codex struct {
			// Role is "user_note" for the words beside the choice of another field.
			Role     string `json:"role"`
			Question string `json:"questionId"`
		} `json:"codex"`
	} `json:"_meta"`
	// note is the field for the words beside this one's choice.
	note string
}

type choice struct {
	Const       string `json:"const"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

func (f *field) choices() []choice {
	choices := slices.Concat(f.OneOf, f.Items.AnyOf)
	for _, value := range slices.Concat(f.Enum, f.Items.Enum) {
		choices = append(choices, choice{Const: value})
	}
	if f.Type == "boolean" {
		choices = []choice{{Const: "Yes"}, {Const: "No"}}
	}
	return choices
}

// settle answers the agent; only the first answer counts.
func (q *question) settle(content map[string]any) {
	select {
	case q.reply <- content:
	default:
	}
}

// ask has a person fill in a form of the agent's.
func (a *acpAgent) ask(ctx context.Context, params json.RawMessage) (any, *acp.RequestError) {
	var form struct {
		Mode    string `json:"mode"`
		Tool    string `json:"toolCallId"`
		Message string `json:"message"`
		Schema  struct {
			Properties json.RawMessage `json:"properties"`
		} `json:"requestedSchema"`
	}
	err := json.Unmarshal(params, &form)
	if err != nil || form.Mode != "form" {
		return declined, nil
	}
	q := &question{reply: make(chan map[string]any, 1)}
	if q.fields, err = readFields(form.Schema.Properties); err != nil || len(q.fields) == 0 {
		return declined, nil
	}
	id, expires := uuid.NewString(), time.Now().Add(a.task.UserInputTimeout)
	a.mu.Lock()
	if a.ending != nil {
		a.mu.Unlock()
		return declined, nil
	}
	a.questions[id] = q
	a.pass(a.translator.flush())
	a.sink.Emit(&executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_UserInputRequested{UserInputRequested: &backendv1.UserInputRequested{
		UserInputRequestId: id, ToolName: toolAskUser, ToolUseId: form.Tool, Questions: q.asked(), ExpiresAt: timestamppb.New(expires),
	}}})
	a.mu.Unlock()
	timeout := time.NewTimer(time.Until(expires))
	defer timeout.Stop()
	var content map[string]any
	select {
	case content = <-q.reply:
	case <-timeout.C:
	case <-ctx.Done():
		select {
		case <-a.conn.Done(): // It is gone, with its question.
		default:
			a.emit(agent.Warning(agent.NoticeWithdrawn, "The agent withdrew its question."))
		}
	}
	a.mu.Lock()
	delete(a.questions, id)
	a.lastActive = time.Now() // The silence was a person's.
	a.mu.Unlock()
	if content == nil {
		return declined, nil
	}
	return map[string]any{"action": "accept", "content": content}, nil
}

// toolAskUser is what questions are called, whichever agent asks.
const toolAskUser = "AskUserQuestion"

var declined = map[string]any{"action": "cancel"}

// readFields reads the properties of a form in their order.
func readFields(properties json.RawMessage) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(properties))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var fields []field
	notes := map[string]string{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var f field
		if err := d.Decode(&f); err != nil {
			return nil, err
		}
		f.name = fmt.Sprint(name)
		if f.Meta.Codex.Role == "user_note" {
			notes[f.Meta.Codex.Question] = f.name
			continue
		}
		fields = append(fields, f)
	}
	for i := range fields {
		fields[i].note = notes[fields[i].name]
	}
	return fields, nil
}

// asked are the fields as questions.
func (q *question) asked() []*backendv1.UserQuestion {
	asked := make([]*backendv1.UserQuestion, 0, len(q.fields))
	for _, f := range q.fields {
		uq := &backendv1.UserQuestion{Id: f.name, Question: cmp.Or(f.Title, f.Description, f.name), MultiSelect: f.Type == "array"}
		if f.Title != "" {
			uq.Header = f.Description
		}
		for _, c := range f.choices() {
			uq.Options = append(uq.Options, &backendv1.UserQuestionOption{Label: cmp.Or(c.Title, c.Const), Description: c.Description})
		}
		asked = append(asked, uq)
	}
	return asked
}

// content is the form as a person has filled it in.
func (q *question) content(answers []*backendv1.UserAnswer) map[string]any {
	content := map[string]any{}
	for _, f := range q.fields {
		for _, answer := range answers {
			if answer.GetQuestionId() == f.name {
				f.fill(content, answer)
			}
		}
	}
	return content
}

func (f *field) fill(content map[string]any, answer *backendv1.UserAnswer) {
	var chosen []string
	for _, label := range answer.GetSelected() {
		for _, c := range f.choices() {
			if cmp.Or(c.Title, c.Const) == label {
				chosen = append(chosen, c.Const)
			}
		}
	}
	words := answer.GetOtherText()
	switch {
	case f.Type == "boolean":
		content[f.name] = slices.Contains(chosen, "Yes")
	case f.Type == "array":
		content[f.name] = chosen
	case len(chosen) > 0:
		content[f.name] = chosen[0]
	default:
		content[f.name] = words
		return
	}
	if words != "" && f.note != "" {
		content[f.note] = words
	}
}

// Answer implements agent.Agent.
func (a *acpAgent) Answer(id string, answers []*backendv1.UserAnswer) {
	if q := a.waiting(id); q != nil {
		q.settle(q.content(answers))
	}
}

// Decline implements agent.Agent.
func (a *acpAgent) Decline(id string) {
	if q := a.waiting(id); q != nil {
		q.settle(nil)
	}
}

func (a *acpAgent) waiting(id string) *question {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.questions[id]
}
