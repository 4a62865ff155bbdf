package terminal_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

func color(multi bool) *backendv1.UserQuestion {
	return &backendv1.UserQuestion{
		Id: "q", Question: "Which colors?", MultiSelect: multi,
		Options: []*backendv1.UserQuestionOption{{Label: "Red", Description: "warm"}, {Label: "Dark blue"}},
	}
}

func selected(labels ...string) *backendv1.UserAnswer {
	return &backendv1.UserAnswer{QuestionId: "q", Selected: labels}
}

func words(text string) *backendv1.UserAnswer {
	return &backendv1.UserAnswer{QuestionId: "q", OtherText: text}
}

func TestParseAnswer(t *testing.T) {
	free := &backendv1.UserQuestion{Id: "q", Question: "How many?"}
	for _, test := range []struct {
		name     string
		question *backendv1.UserQuestion
		line     string
		want     *backendv1.UserAnswer
		err      string
	}{
		{"number", color(false), " 2 ", selected("Dark blue"), ""},
		{"own words", color(false), "a deep green", words("a deep green"), ""},
		{"label", color(false), "Red", selected("Red"), ""},
		{"one of several by its label", color(true), "Dark blue", selected("Dark blue"), ""},
		{"no such number", color(false), "3", nil, "choose 1 to 2"},
		{"zero", color(false), "0", nil, "choose 1 to 2"},
		{"nothing", color(false), "  ", nil, "type an answer"},
		{"several where one is wanted", color(false), "1,2", words("1,2"), ""},
		{"several", color(true), "1, 2", selected("Red", "Dark blue"), ""},
		{"several by spaces", color(true), "2 1", selected("Dark blue", "Red"), ""},
		{"one of several", color(true), "1", selected("Red"), ""},
		{"one of several twice", color(true), "1,1", selected("Red"), ""},
		{"several, one wrong", color(true), "1,9", nil, "no option 9"},
		{"own words with a number", color(true), "2 of each", words("2 of each"), ""},
		{"only commas", color(true), ",,", nil, "type an answer"},
		{"number without options", free, "7", words("7"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := terminal.ParseAnswer(test.question, test.line)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.True(t, proto.Equal(test.want, got), "%v", got)
		})
	}
}

func TestAskerAsksOneAfterTheOther(t *testing.T) {
	var out bytes.Buffer
	asker := terminal.NewAsker(&out, false, []*backendv1.UserQuestion{color(true), {Question: "Why?\x1b[2J"}})
	require.Equal(t, "? Which colors?\n  1. Red — warm\n  2. Dark blue\n  numbers separated by commas, or your own words: ", out.String())
	out.Reset()
	require.Nil(t, asker.Answer(""))
	require.Contains(t, out.String(), "please type an answer")
	out.Reset()
	require.Nil(t, asker.Answer("1,2"))
	require.Equal(t, "? Why?\n  your answer: ", out.String())
	answers := asker.Answer("because")
	require.Len(t, answers, 2)
	require.Equal(t, []string{"Red", "Dark blue"}, answers[0].GetSelected())
	require.Equal(t, "because", answers[1].GetOtherText())
	require.Equal(t, answers, asker.Answer("more"), "the same again, when sending them failed")
}

// What is shown while a question waits begins on a line of its own, and the
// prompt is asked again below it.
func TestShownWhileAQuestionWaits(t *testing.T) {
	var out bytes.Buffer
	renderer := terminal.NewRenderer(&out, terminal.Options{Asks: true})
	asker := terminal.NewAsker(renderer.Out(), false, []*backendv1.UserQuestion{{Question: "Why?"}})
	require.NoError(t, renderer.Note("meanwhile"))
	asker.Repeat()
	asker.Repeat()
	require.NotNil(t, asker.Answer("because"))
	require.NoError(t, renderer.Note("afterwards"))
	require.Equal(t, "? Why?\n  your answer: \nmeanwhile\n  your answer: afterwards\n", out.String())
}

func TestAnswersAreShownWithTheirQuestions(t *testing.T) {
	var out bytes.Buffer
	renderer := terminal.NewRenderer(&out, terminal.Options{Asks: true})
	show := func(payload *backendv1.EventPayload) {
		require.NoError(t, renderer.Event(&backendv1.SessionEvent{Payload: payload}))
	}
	show(&backendv1.EventPayload{Kind: &backendv1.EventPayload_UserInputRequested{UserInputRequested: &backendv1.UserInputRequested{
		UserInputRequestId: "r", Questions: []*backendv1.UserQuestion{color(true), {Id: "why", Question: "Why?"}},
	}}})
	for range 2 { // the second time, the question is not known any more
		show(&backendv1.EventPayload{Kind: &backendv1.EventPayload_UserInputResolved{UserInputResolved: &backendv1.UserInputResolved{
			UserInputRequestId: "r", Status: backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED,
			Answers: []*backendv1.UserAnswer{
				{QuestionId: "q", Selected: []string{"Red", "Dark blue"}, OtherText: "both"}, {QuestionId: "why", OtherText: "because"},
			},
		}}})
	}
	require.Equal(t, "✔ Which colors? Red, Dark blue: both\n✔ Why? because\n✔ Red, Dark blue: both\n✔ because\n", out.String())
}
