package conversation

import (
	"slices"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// questions are the agent's open questions, oldest first; the first of them is
// the one being asked.
type questions struct {
	waiting []*backendv1.UserInputRequested
	asker   *terminal.Asker
}

func (q *questions) open() bool { return q.asker != nil }

func (q *questions) add(request *backendv1.UserInputRequested) {
	q.waiting = append(q.waiting, request)
}

func (q *questions) ask(begin func(*backendv1.UserInputRequested) *terminal.Asker) {
	if q.asker == nil && len(q.waiting) > 0 {
		q.asker = begin(q.waiting[0])
	}
}

// answer takes a typed line; it returns the answers once they are complete.
func (q *questions) answer(line string) (id string, answers []*backendv1.UserAnswer) {
	if q.asker == nil {
		return "", nil // typed before anything was asked
	}
	answers = q.asker.Answer(line)
	return q.waiting[0].GetUserInputRequestId(), answers
}

// repeat shows the prompt again that an event was shown below.
func (q *questions) repeat(shown *backendv1.EventPayload) {
	if q.asker != nil && shown.GetUserInputResolved() == nil {
		q.asker.Repeat()
	}
}

// remove forgets a question that was answered, here or elsewhere, or closed.
func (q *questions) remove(id string) {
	i := slices.IndexFunc(q.waiting, func(r *backendv1.UserInputRequested) bool { return r.GetUserInputRequestId() == id })
	if i < 0 {
		return
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if i == 0 {
		q.asker = nil
	}
}

func (q *questions) clear() { *q = questions{} }
