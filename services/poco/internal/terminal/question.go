package terminal

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// question prints what the agent asks, and how to answer from elsewhere.
func (r *Renderer) question(request *backendv1.UserInputRequested) {
	var hint strings.Builder
	for _, question := range request.GetQuestions() {
		r.out.freshLine()
		r.out.write(QuestionText(r.style, question))
		hint.WriteString(" ANSWER")
	}
	r.entry(r.style.text(yellow, "  waiting; answer with: poco answer "+Clean(request.GetUserInputRequestId())+hint.String()))
}

func (r *Renderer) resolved(resolved *backendv1.UserInputResolved) {
	switch resolved.GetStatus() {
	case backendv1.UserInputStatus_USER_INPUT_STATUS_ANSWERED:
		for _, answer := range resolved.GetAnswers() {
			var question string // not known where it was asked before what is shown
			for _, asked := range r.asked[resolved.GetUserInputRequestId()] {
				if asked.GetId() == answer.GetQuestionId() {
					question = Line(asked.GetQuestion(), r.opts.Width) + " "
				}
			}
			r.entry(r.style.text(green, "✔ ") + question + r.style.text(bold, Line(answerText(answer), r.opts.Width)))
		}
	case backendv1.UserInputStatus_USER_INPUT_STATUS_EXPIRED:
		r.entry(r.style.text(yellow, "! nobody answered in time; the agent goes on without"))
	case backendv1.UserInputStatus_USER_INPUT_STATUS_CANCELED:
		r.entry(r.style.text(yellow, "! the question is no longer open"))
	default:
	}
	delete(r.asked, resolved.GetUserInputRequestId())
}

// answerText is an answer in one line.
func answerText(answer *backendv1.UserAnswer) string {
	parts := []string{strings.Join(answer.GetSelected(), ", "), answer.GetOtherText()}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// QuestionText shows a question with its numbered options.
func QuestionText(style Style, question *backendv1.UserQuestion) string {
	var text strings.Builder
	text.WriteString(style.text(bold, "? "+Clean(question.GetQuestion())) + "\n")
	for i, option := range question.GetOptions() {
		fmt.Fprintf(&text, "  %d. %s", i+1, Line(option.GetLabel(), defaultWidth))
		if option.GetDescription() != "" {
			text.WriteString(style.text(dim, " — "+Line(option.GetDescription(), 2*defaultWidth)))
		}
		text.WriteString("\n")
	}
	return text.String()
}

// Asker asks the questions of one request one after the other. It reads no
// input itself: the caller hands it each line, so that the caller can wait for
// other things meanwhile.
type Asker struct {
	out       *writer
	style     Style
	questions []*backendv1.UserQuestion
	next      int
	answers   []*backendv1.UserAnswer
}

// NewAsker prints the first question.
func NewAsker(out io.Writer, color bool, questions []*backendv1.UserQuestion) *Asker {
	w, shared := out.(*writer)
	if !shared {
		w = &writer{w: out}
	}
	asker := &Asker{out: w, style: Style(color), questions: questions}
	asker.ask()
	return asker
}

// Answer takes the line that was typed. It returns the answers to all
// questions after the last of them, and nil before. An empty line asks again.
func (a *Asker) Answer(line string) []*backendv1.UserAnswer {
	a.out.column = 0 // the person ended the line
	if a.next >= len(a.questions) {
		return a.answers
	}
	question := a.questions[a.next]
	answer, err := ParseAnswer(question, line)
	if err != nil {
		fmt.Fprintln(a.out, a.style.text(yellow, "  "+err.Error()))
		a.promptLine(question)
		return nil
	}
	a.answers = append(a.answers, answer)
	a.next++
	if a.next < len(a.questions) {
		a.ask()
		return nil
	}
	return a.answers
}

// Repeat prints the prompt again when something was written below it.
func (a *Asker) Repeat() {
	if a.out.column == 0 && a.next < len(a.questions) {
		a.promptLine(a.questions[a.next])
	}
}

func (a *Asker) ask() {
	if a.next >= len(a.questions) {
		return
	}
	question := a.questions[a.next]
	fmt.Fprint(a.out, QuestionText(a.style, question))
	a.promptLine(question)
}

func (a *Asker) promptLine(question *backendv1.UserQuestion) {
	how := "your answer"
	switch {
	case question.GetMultiSelect() && len(question.GetOptions()) > 0:
		how = "numbers separated by commas, or your own words"
	case len(question.GetOptions()) > 0:
		how = "a number, or your own words"
	}
	fmt.Fprint(a.out, a.style.text(cyan, "  "+how+": "))
}

// ParseAnswer turns what a person typed into an answer: numbers and labels stand
// for options (several numbers, separated by commas, where the question allows it),
// anything else is taken as it is.
func ParseAnswer(question *backendv1.UserQuestion, line string) (*backendv1.UserAnswer, error) {
	line = strings.TrimSpace(line)
	selected, err := chosen(question, line)
	if err != nil {
		return nil, err
	}
	answer := &backendv1.UserAnswer{QuestionId: question.GetId(), Selected: selected}
	if len(selected) == 0 {
		answer.OtherText = line
	}
	return answer, nil
}

// chosen are the labels of the options that a line stands for; none for a line of
// the person's own words.
func chosen(question *backendv1.UserQuestion, line string) ([]string, error) {
	options := question.GetOptions()
	for _, option := range options {
		if option.GetLabel() == line {
			return []string{line}, nil
		}
	}
	parts := []string{line}
	if question.GetMultiSelect() {
		parts = strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if strings.Join(parts, "") == "" { // or only commas
		return nil, fmt.Errorf("please type an answer")
	}
	var labels []string
	for _, part := range parts {
		number, err := strconv.Atoi(part)
		if err != nil || len(options) == 0 {
			return nil, nil //nolint:nilerr // no number: the person's own words
		}
		if number < 1 || number > len(options) {
			return nil, fmt.Errorf("there is no option %d, choose 1 to %d", number, len(options))
		}
		if label := options[number-1].GetLabel(); !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	return labels, nil
}
