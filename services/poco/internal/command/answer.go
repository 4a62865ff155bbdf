package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

func (c *cli) answerCommand() *cobra.Command {
	var session string
	cmd := &cobra.Command{
		Use:   "answer [REQUEST [ANSWER...]]",
		Short: "List open questions, or answer one",
		Long: `Without arguments: list the questions that wait for an answer. With a request:
answer its questions in their order, one ANSWER each; a number or a label
chooses an option ("1,3" several, where allowed), anything else is taken as it
is. Without an ANSWER the questions are asked here.`,
		Example: `  poco answer
  poco answer 0e1f…
  poco answer 0e1f… 2 "keep the old name"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			backend := c.client()
			open, err := openQuestions(cmd.Context(), backend, session)
			if err != nil {
				return c.refused(backend, err)
			}
			if len(args) == 0 {
				c.listQuestions(open)
				return nil
			}
			return c.answer(cmd.Context(), backend, open, args[0], args[1:])
		},
	}
	cmd.Flags().StringVar(&session, "session", "", "only this session's questions")
	return cmd
}

func openQuestions(ctx context.Context, backend *client.Backend, session string) ([]*backendv1.UserInputRequest, error) {
	var open []*backendv1.UserInputRequest
	request := &backendv1.ListUserInputRequestsRequest{
		SessionId: session, Statuses: []backendv1.UserInputStatus{backendv1.UserInputStatus_USER_INPUT_STATUS_PENDING}, PageSize: 500,
	}
	for {
		page, err := backend.Inputs.ListUserInputRequests(ctx, request)
		if err != nil {
			return nil, err
		}
		open = append(open, page.GetUserInputRequests()...)
		request.PageToken = page.GetNextPageToken()
		if request.GetPageToken() == "" {
			return open, nil
		}
	}
}

func (c *cli) listQuestions(open []*backendv1.UserInputRequest) {
	if len(open) == 0 {
		fmt.Fprintln(c.out, "No open questions.")
	}
	style := terminal.Style(c.screen().color)
	for _, request := range open {
		left := time.Until(request.GetExpiresAt().AsTime()).Round(time.Second)
		fmt.Fprintf(c.out, "%s %s\n", style.Bold(request.GetId()), style.Dim(fmt.Sprintf("session %s, %s left", request.GetSessionId(), left)))
		for _, question := range request.GetQuestions() {
			fmt.Fprint(c.out, terminal.QuestionText(style, question))
		}
	}
}

func (c *cli) answer(ctx context.Context, backend *client.Backend, open []*backendv1.UserInputRequest, id string, given []string) error {
	var questions []*backendv1.UserQuestion
	for _, request := range open {
		if request.GetId() == id {
			questions = request.GetQuestions()
		}
	}
	if questions == nil {
		return usageError("%s is not an open question; list them with: poco answer", id)
	}
	answers, err := c.collect(questions, given)
	if err != nil {
		return err
	}
	_, err = backend.Inputs.AnswerUserInputRequest(ctx, &backendv1.AnswerUserInputRequestRequest{UserInputRequestId: id, Answers: answers})
	if err != nil {
		return c.refused(backend, err)
	}
	fmt.Fprintln(c.out, "answered")
	return nil
}

func (c *cli) collect(questions []*backendv1.UserQuestion, given []string) ([]*backendv1.UserAnswer, error) {
	if len(given) == 0 {
		asker := terminal.NewAsker(c.out, c.screen().color, questions)
		for line := range lines(c.in) {
			if answers := asker.Answer(line); answers != nil {
				return answers, nil
			}
		}
		return nil, usageError("the input ended before all questions were answered")
	}
	if len(given) != len(questions) {
		return nil, usageError("there are %d questions and %d answers; quote answers with spaces", len(questions), len(given))
	}
	answers := make([]*backendv1.UserAnswer, 0, len(questions))
	for i, question := range questions {
		answer, err := terminal.ParseAnswer(question, given[i])
		if err != nil {
			return nil, usageError("%s: %w", terminal.Clean(question.GetQuestion()), err)
		}
		answers = append(answers, answer)
	}
	return answers, nil
}
