package userinput

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
	"github.com/poco-ai/poco/services/internal/sanitize"
)

// maxQuoted bounds what an error repeats of a text, in bytes.
const maxQuoted = 200

// inOrder returns the answers in the order of the questions. There must be one
// for each, and none besides.
func inOrder(questions []*backendv1.UserQuestion, answers []*backendv1.UserAnswer) ([]*backendv1.UserAnswer, error) {
	ordered := make([]*backendv1.UserAnswer, len(questions))
	for i, answer := range answers {
		refuse := func(field, description string) error {
			return rpcerror.InvalidArgument(fmt.Sprintf("answers[%d].%s", i, field), fmt.Sprintf("question %q: %s", answer.GetQuestionId(), description))
		}
		n := slices.IndexFunc(questions, func(q *backendv1.UserQuestion) bool { return q.GetId() == answer.GetQuestionId() })
		if n < 0 {
			return nil, refuse("question_id", "the request has no question with this id")
		}
		if ordered[n] != nil {
			return nil, refuse("question_id", "has two answers")
		}
		if field, fault := faultOf(questions[n], answer); fault != "" {
			return nil, refuse(field, fault)
		}
		ordered[n] = proto.CloneOf(answer)
		ordered[n].OtherText = sanitize.Text(answer.GetOtherText())
	}
	for i, question := range questions {
		if ordered[i] == nil {
			return nil, rpcerror.InvalidArgument("answers", fmt.Sprintf("question %q (%s) has no answer",
				question.GetId(), sanitize.Head(question.GetQuestion(), maxQuoted)))
		}
	}
	return ordered, nil
}

// faultOf says in which field, and why, an answer does not fit its question.
func faultOf(question *backendv1.UserQuestion, answer *backendv1.UserAnswer) (field, fault string) {
	selected := answer.GetSelected()
	if len(selected) == 0 && strings.TrimSpace(answer.GetOtherText()) == "" {
		return "selected", "nothing is selected, and other_text is empty"
	}
	if len(selected) > 1 && !question.GetMultiSelect() {
		return "selected", "takes one option only"
	}
	for i, label := range selected {
		if slices.Contains(selected[:i], label) {
			return "selected", fmt.Sprintf("%q is selected twice", sanitize.Head(label, maxQuoted))
		}
		if !slices.ContainsFunc(question.GetOptions(), func(o *backendv1.UserQuestionOption) bool { return o.GetLabel() == label }) {
			return "selected", fmt.Sprintf("%q is no label of its options; an answer in other words goes into other_text", sanitize.Head(label, maxQuoted))
		}
	}
	return "", ""
}
