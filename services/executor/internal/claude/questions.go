package claude

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

const (
	toolAskUser  = "AskUserQuestion"
	toolExitPlan = "ExitPlanMode"

	// planMode is the CLI's permission mode in which a plan is made.
	planMode  = "plan"
	planFirst = "This is plan mode, and the user has not approved a plan yet: show yours with ExitPlanMode first."

	planApprove = "Approve"
	planReject  = "Keep planning"

	// questionTimedOut is what the agent is told when nobody answered.
	questionTimedOut = "User input timed out"
)

// question is a permission request that a person must answer.
type question struct {
	id        string
	requestID string
	tool      string
	toolUseID string
	input     map[string]any
	asked     []*backendv1.UserQuestion
	expires   time.Time
}

// asksPerson says whether a permission request needs a person: a question, and
// the approval of a plan, no matter who chose to make one. The agent is told that its
// user approved, so nobody else may. Everything else is allowed: the sandbox is
// the boundary, not the prompt.
func asksPerson(tool string) bool { return tool == toolAskUser || tool == toolExitPlan }

// permit answers a permission request that needs no person. In plan mode the
// CLI asks for what may change something: that would be the plan's beginning.
func (a *Agent) permit(r *controlRequest) permission {
	if a.planning && mayWrite(r.ToolName) && !startsAgent(r.ToolName) {
		return deny(planFirst)
	}
	return allow(r.Input)
}

// startsAgent tells the calls of sub-agents, which are in the same mode.
func startsAgent(tool string) bool { return tool == "Task" || tool == "Agent" }

func newQuestion(requestID string, r *controlRequest, expires time.Time) (*question, error) {
	q := &question{id: uuid.NewString(), requestID: requestID, tool: r.ToolName, toolUseID: r.ToolUseID, expires: expires}
	if err := json.Unmarshal(r.Input, &q.input); err != nil {
		return nil, err
	}
	if q.tool == toolExitPlan {
		plan, _ := q.input["plan"].(string)
		q.asked = []*backendv1.UserQuestion{{
			Id: questionID(0), Question: strings.TrimSpace("Go ahead with this plan?\n\n" + sanitize.Text(plan)), Header: "Plan",
			Options: []*backendv1.UserQuestionOption{
				{Label: planApprove, Description: "Start working"},
				{Label: planReject, Description: "Change the plan first; say what to change"},
			},
		}}
		return q, nil
	}
	var in struct {
		Questions []struct {
			Question    string `json:"question"`
			Header      string `json:"header"`
			MultiSelect bool   `json:"multiSelect"`
			Options     []struct {
				Label       string `json:"label"`
				Description string `json:"description"`
			} `json:"options"`
		} `json:"questions"`
	}
	if err := json.Unmarshal(r.Input, &in); err != nil {
		return nil, err
	}
	for i, asked := range in.Questions {
		uq := &backendv1.UserQuestion{Id: questionID(i), Question: sanitize.Text(asked.Question), Header: sanitize.Text(asked.Header), MultiSelect: asked.MultiSelect}
		for _, o := range asked.Options {
			uq.Options = append(uq.Options, &backendv1.UserQuestionOption{Label: sanitize.Text(o.Label), Description: sanitize.Text(o.Description)})
		}
		q.asked = append(q.asked, uq)
	}
	return q, nil
}

// questionID names the question at a position of a request.
func questionID(i int) string { return strconv.Itoa(i + 1) }

// payload is the question as an event.
func (q *question) payload() *executorv1.RunEventPayload {
	return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_UserInputRequested{
		UserInputRequested: &backendv1.UserInputRequested{
			UserInputRequestId: q.id, ToolName: q.tool, ToolUseId: q.toolUseID, Questions: q.asked,
			ExpiresAt: timestamppb.New(q.expires),
		},
	}}
}

// answer turns a person's answers into the permission the CLI waits for.
func (q *question) answer(answers []*backendv1.UserAnswer) permission {
	given := make(map[string]*backendv1.UserAnswer, len(answers))
	for _, a := range answers {
		given[a.GetQuestionId()] = a
	}
	if q.tool == toolExitPlan {
		return q.decidePlan(given[questionID(0)])
	}
	return allow(q.answered(given))
}

// answered is the CLI's own input with the answers: by a question's text, one
// string each, and as a note what was said beside a choice.
func (q *question) answered(given map[string]*backendv1.UserAnswer) map[string]any {
	texts := distinctTexts(q.asked)
	answers, annotations := map[string]string{}, map[string]any{}
	for i, asked := range q.asked {
		if listed, ok := q.listed(i); ok {
			listed["question"] = texts[i]
		}
		answer := given[asked.GetId()]
		answers[texts[i]] = joined(answer.GetSelected())
		switch note := answer.GetOtherText(); {
		case len(answer.GetSelected()) == 0:
			answers[texts[i]] = note
		case note != "":
			annotations[texts[i]] = map[string]any{"notes": note}
		}
	}
	q.input["answers"], q.input["annotations"] = answers, annotations
	return q.input
}

// listed is a question as the CLI listed it.
func (q *question) listed(i int) (map[string]any, bool) {
	all, _ := q.input["questions"].([]any)
	if i >= len(all) {
		return nil, false
	}
	one, ok := all[i].(map[string]any)
	return one, ok
}

// distinctTexts are the texts of the questions, numbered where they are the same.
func distinctTexts(questions []*backendv1.UserQuestion) []string {
	texts := make([]string, 0, len(questions))
	for _, q := range questions {
		text := q.GetQuestion()
		for n := 2; slices.Contains(texts, text); n++ {
			text = fmt.Sprintf("%s (%d)", q.GetQuestion(), n)
		}
		texts = append(texts, text)
	}
	return texts
}

// joined lists labels with commas between, as the CLI does, and in quotes where
// a label has one itself.
func joined(labels []string) string {
	if len(labels) < 2 || !slices.ContainsFunc(labels, func(l string) bool { return strings.Contains(l, ",") }) {
		return strings.Join(labels, ", ")
	}
	quoted := make([]string, 0, len(labels))
	for _, label := range labels {
		quoted = append(quoted, strconv.Quote(label))
	}
	return strings.Join(quoted, ", ")
}

// decidePlan lets the agent begin, or says what is missing. A remark on an approved
// plan becomes part of it.
func (q *question) decidePlan(answer *backendv1.UserAnswer) permission {
	remark := strings.TrimSpace(answer.GetOtherText())
	switch approved := slices.Contains(answer.GetSelected(), planApprove) || len(answer.GetSelected()) == 0 && strings.EqualFold(remark, planApprove); {
	case approved && len(answer.GetSelected()) > 0 && remark != "":
		plan, _ := q.input["plan"].(string)
		q.input["plan"] = strings.TrimSpace(plan + "\n\nThe user approved this plan with the remark: " + remark)
		return allow(q.input)
	case approved:
		return allow(q.input)
	case remark != "":
		return deny("The user did not approve the plan: " + remark)
	default:
		return deny("The user wants to keep planning.")
	}
}
