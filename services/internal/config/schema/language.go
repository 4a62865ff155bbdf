package schema

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/poco-ai/poco/gen/configcomments"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Language is one in which settings are described. Messages and reports are in
// English; the reference is in both.
type Language string

// The languages.
const (
	English Language = "en"
	Chinese Language = "zh"
)

// Say formats an English phrase in the language. It panics on a phrase without
// translation, which is a mistake in the program.
func (l Language) Say(phrase string, args ...any) string {
	if l == Chinese {
		translated, ok := chinese[phrase]
		if !ok {
			panic(fmt.Sprintf("config schema: no Chinese for %q", phrase))
		}
		phrase = translated
	}
	if len(args) == 0 {
		return phrase
	}
	return fmt.Sprintf(phrase, args...)
}

// List enumerates words.
func (l Language) List(words []string) string {
	if l == Chinese {
		return strings.Join(words, "、")
	}
	return strings.Join(words, ", ")
}

// text picks the words of the language.
func (l Language) text(t *configv1.Text) string {
	if l == Chinese {
		return t.GetZh()
	}
	return t.GetEn()
}

// Description says what a setting does: in English the field's leading comment.
func (l Language) Description(s *Setting) string {
	if l == Chinese {
		return s.GetDescriptionZh()
	}
	return s.Description()
}

// Fallback says what holds without a value, where no default can.
func (l Language) Fallback(s *Setting) string { return l.text(s.Setting.GetFallback()) }

// Section returns the heading of a group of settings and what stands below it:
// in English the message's leading comment. Both are empty when the group has
// no heading.
func (l Language) Section(group protoreflect.MessageDescriptor) (title, description string) {
	section, _ := proto.GetExtension(group.Options(), configv1.E_Section).(*configv1.Section)
	if l == Chinese {
		return section.GetTitleZh(), section.GetDescriptionZh()
	}
	return section.GetTitle(), configcomments.Messages[string(group.FullName())]
}
