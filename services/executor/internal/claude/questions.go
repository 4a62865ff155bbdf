package claude

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
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
			Question: strings.TrimSpace("Go ahead with this plan?\n\n" + plan), Header: "Plan",
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
	for _, asked := range in.Questions {
		uq := &backendv1.UserQuestion{Question: asked.Question, Header: asked.Header, MultiSelect: asked.MultiSelect}
		for _, o := range asked.Options {
			uq.Options = append(uq.Options, &backendv1.UserQuestionOption{Label: o.Label, Description: o.Description})
		}
		q.asked = append(q.asked, uq)
	}
	return q, nil
}

// payload is the question as an event.
func (q *question) payload() *backendv1.EventPayload {
	return &backendv1.EventPayload{Kind: &backendv1.EventPayload_UserInputRequested{
		UserInputRequested: &backendv1.UserInputRequested{
			UserInputRequestId: q.id, ToolName: q.tool, ToolUseId: q.toolUseID, Questions: q.asked,
			ExpiresAt: timestamppb.New(q.expires),
		},
	}}
}

// answer turns a person's answers into the permission the CLI waits for.
func (q *question) answer(answers map[string]string) permission {
	if q.tool == toolExitPlan {
		for _, a := range answers {
			if strings.EqualFold(strings.TrimSpace(a), planApprove) {
				return allow(q.input)
			}
			if strings.EqualFold(strings.TrimSpace(a), planReject) {
				return deny("The user wants to keep planning.")
			}
			return deny("The user did not approve the plan: " + a)
		}
		return deny("The user did not approve the plan.")
	}
	input := make(map[string]any, len(q.input)+1)
	for key, value := range q.input {
		input[key] = value
	}
	input["answers"] = answers
	return allow(input)
}
