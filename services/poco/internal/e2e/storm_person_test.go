package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/retry"
)

// What the people ask for; the names are those of the model's scenarios.
const (
	kindWork = "storm_work"
	kindLong = "storm_long"
	kindAsk  = "storm_ask"
)

// prompt is something that was asked for.
type prompt struct {
	label string
	kind  string
	run   string
	// canceled says that the person canceled it.
	canceled bool
	end      *backendv1.RunStatusChanged

	mu sync.Mutex
	// excuses are the faults that may have cost the run its agent.
	excuses []string
}

// excuse notes a fault that may cost the run its agent.
func (asked *prompt) excuse(fault string) {
	asked.mu.Lock()
	defer asked.mu.Unlock()
	asked.excuses = append(asked.excuses, fault)
}

// after names the faults that may have cost the run its agent.
func (asked *prompt) after() string {
	asked.mu.Lock()
	defer asked.mu.Unlock()
	return strings.Join(asked.excuses, ", ")
}

// person sends prompts to one session, one after another or several at once.
type person struct {
	storm  *storm
	index  int
	rng    *rand.Rand
	resume bool
	// persistent says that the session keeps its executor.
	persistent bool
	done       chan struct{}

	mu       sync.Mutex
	session  string
	follower *follower
	prompts  []*prompt
}

func newPerson(s *storm, index int, rng *rand.Rand) *person {
	return &person{storm: s, index: index, rng: rng, resume: index%2 == 0, persistent: index%3 == 0, done: make(chan struct{})}
}

// live sends prompts until the storm is over.
func (p *person) live() {
	go func() {
		defer close(p.done)
		for n := 0; ; n++ {
			select {
			case <-p.storm.over:
				if n > 0 {
					return
				}
			default:
			}
			batch := p.ask(n)
			for _, asked := range batch {
				if !p.attend(asked) {
					return
				}
			}
			retry.Pause(p.storm.calm, time.Duration(p.rng.IntN(300))*time.Millisecond)
		}
	}()
}

// ask sends one prompt, or now and then a follow-up right behind it.
func (p *person) ask(n int) []*prompt {
	count := 1
	if p.rng.IntN(6) == 0 {
		count = 2
	}
	var batch []*prompt
	for i := range count {
		asked := &prompt{label: fmt.Sprintf("p%02d-%03d-%d", p.index, n, i), kind: kindWork}
		switch p.rng.IntN(10) {
		case 0, 1:
			asked.kind = kindLong
		case 2, 3:
			asked.kind = kindAsk
		}
		if p.send(asked) {
			batch = append(batch, asked)
		}
	}
	return batch
}

// send enqueues a prompt, exactly once however often it has to be tried.
func (p *person) send(asked *prompt) bool {
	config := &backendv1.TaskConfig{
		LostExecutorPolicy: backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_FAIL.Enum(),
		ContainerMode:      backendv1.ContainerMode_CONTAINER_MODE_EPHEMERAL.Enum(),
	}
	if p.resume {
		config.LostExecutorPolicy = backendv1.LostExecutorPolicy_LOST_EXECUTOR_POLICY_RESUME.Enum()
	}
	if p.persistent {
		config.ContainerMode = backendv1.ContainerMode_CONTAINER_MODE_PERSISTENT.Enum()
	}
	resp, err := insist(p.storm.calm, func(ctx context.Context) (*backendv1.EnqueueTaskResponse, error) {
		return p.storm.tasks.EnqueueTask(ctx, &backendv1.EnqueueTaskRequest{
			Prompt: "Please do " + asked.label + ". [[" + asked.kind + ":" + asked.label + "]]", SessionId: p.session,
			Config: config, ClientRequestId: fmt.Sprint(p.storm.seed, asked.label),
		})
	})
	if err != nil {
		p.storm.blame("%s could not be sent: %v", asked.label, err)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	asked.run = resp.GetRunId()
	if p.follower == nil {
		p.session = resp.GetSessionId()
		p.follower = p.storm.follow(p.session)
	}
	p.prompts = append(p.prompts, asked)
	return true
}

// attend answers a prompt's questions, or cancels it, until it has ended. False
// when the storm was given up.
func (p *person) attend(asked *prompt) bool {
	if p.rng.IntN(8) == 0 {
		retry.Pause(p.storm.calm, time.Duration(p.rng.IntN(2500))*time.Millisecond)
		p.cancel(asked)
	}
	answered := map[string]bool{}
	isEnd := isEndOf(asked.run)
	for {
		event, err := p.follower.find(p.storm.calm, func(e *backendv1.SessionEvent) bool {
			question := e.GetPayload().GetUserInputRequested()
			return isEnd(e) || question != nil && e.GetRunId() == asked.run && !answered[question.GetUserInputRequestId()]
		})
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				p.storm.blame("the watch of %s failed: %v", asked.label, err)
			}
			return false
		}
		question := event.GetPayload().GetUserInputRequested()
		if question == nil {
			p.ended(asked, event.GetPayload().GetRunStatusChanged())
			return true
		}
		answered[question.GetUserInputRequestId()] = true
		p.answer(asked, question)
	}
}

func (p *person) ended(asked *prompt, end *backendv1.RunStatusChanged) {
	p.mu.Lock()
	asked.end = end
	p.mu.Unlock()
	if end.GetStatus() == backendv1.RunStatus_RUN_STATUS_FAILED {
		p.storm.note("%s failed: %s: %s (after: %s)", asked.label, end.GetReason(), end.GetMessage(), asked.after())
	}
}

func (p *person) cancel(asked *prompt) {
	p.mu.Lock()
	asked.canceled = true
	p.mu.Unlock()
	_, err := insist(p.storm.calm, func(ctx context.Context) (*backendv1.CancelRunResponse, error) {
		return p.storm.runs.CancelRun(ctx, &backendv1.CancelRunRequest{RunId: asked.run})
	})
	if err != nil && status.Code(err) != codes.FailedPrecondition {
		p.storm.blame("%s could not be canceled: %v", asked.label, err)
	}
}

func (p *person) answer(asked *prompt, question *backendv1.UserInputRequested) {
	var answers []*backendv1.UserAnswer
	for _, q := range question.GetQuestions() {
		chosen := q.GetOptions()[p.rng.IntN(len(q.GetOptions()))].GetLabel()
		answers = append(answers, &backendv1.UserAnswer{QuestionId: q.GetId(), Selected: []string{chosen}})
	}
	_, err := insist(p.storm.calm, func(ctx context.Context) (*backendv1.AnswerUserInputRequestResponse, error) {
		return p.storm.inputs.AnswerUserInputRequest(ctx, &backendv1.AnswerUserInputRequestRequest{
			UserInputRequestId: question.GetUserInputRequestId(), Answers: answers,
		})
	})
	// The run may have ended, or have been given up, in the meantime.
	if err != nil && status.Code(err) != codes.FailedPrecondition {
		p.storm.blame("a question of %s could not be answered: %v", asked.label, err)
	}
}

// waiting are the prompts that have not ended.
func (p *person) waiting() []*prompt {
	p.mu.Lock()
	defer p.mu.Unlock()
	var waiting []*prompt
	for _, asked := range p.prompts {
		if asked.end == nil {
			waiting = append(waiting, asked)
		}
	}
	return waiting
}

// place is the session, once there is one.
func (p *person) place() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session
}

// describe tells what a person waits for.
func (p *person) describe() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, asked := range p.prompts {
		if asked.end == nil {
			return fmt.Sprintf("session %s (resume %v, persistent %v) waits for %s, run %s, after: %s",
				p.session, p.resume, p.persistent, asked.label, asked.run, asked.after())
		}
	}
	return fmt.Sprintf("session %s waits for nothing", p.session)
}

// insist calls until the backend answers with anything but Unavailable, as a
// program would that was told to try again.
func insist[R any](ctx context.Context, call func(context.Context) (R, error)) (R, error) {
	wait := retry.BackOff(50*time.Millisecond, time.Second)
	for {
		resp, err := call(ctx)
		if c := status.Code(err); c != codes.Unavailable || ctx.Err() != nil {
			return resp, err
		}
		if !retry.Pause(ctx, wait.NextBackOff()) {
			return resp, ctx.Err()
		}
	}
}
