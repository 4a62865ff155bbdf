package terminal_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

func color(multi bool) *backendv1.UserQuestion {
	return &backendv1.UserQuestion{
		Question: "Which colors?", MultiSelect: multi,
		Options: []*backendv1.UserQuestionOption{{Label: "Red", Description: "warm"}, {Label: "Dark blue"}},
	}
}

func TestParseAnswer(t *testing.T) {
	free := &backendv1.UserQuestion{Question: "How many?"}
	for _, test := range []struct {
		name     string
		question *backendv1.UserQuestion
		line     string
		want     string
		err      string
	}{
		{"number", color(false), " 2 ", "Dark blue", ""},
		{"own words", color(false), "a deep green", "a deep green", ""},
		{"label", color(false), "Red", "Red", ""},
		{"no such number", color(false), "3", "", "choose 1 to 2"},
		{"zero", color(false), "0", "", "choose 1 to 2"},
		{"nothing", color(false), "  ", "", "type an answer"},
		{"several where one is wanted", color(false), "1,2", "1,2", ""},
		{"several", color(true), "1, 2", "Red, Dark blue", ""},
		{"several by spaces", color(true), "2 1", "Dark blue, Red", ""},
		{"one of several", color(true), "1", "Red", ""},
		{"several, one wrong", color(true), "1,9", "", "no option 9"},
		{"own words with a number", color(true), "2 of each", "2 of each", ""},
		{"only commas", color(true), ",,", "", "type an answer"},
		{"number without options", free, "7", "7", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := terminal.ParseAnswer(test.question, test.line)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
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
	want := map[string]string{"Which colors?": "Red, Dark blue", "Why?\x1b[2J": "because"}
	require.Equal(t, want, asker.Answer("because"))
	require.Equal(t, want, asker.Answer("more"), "the same again, when sending them failed")
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
