package sanitize

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

const (
	// MaxEventBytes bounds an event, so that every page with one in it stays
	// below the 4 MiB that gRPC clients take.
	MaxEventBytes = 2 << 20
	// minCut is below any length to which strings are cut.
	minCut = 256
)

// Message applies Text to every string in m.
func Message(m proto.Message) { walk(m.ProtoReflect(), Text) }

// Event makes what an executor reports fit: Message, and at most MaxEventBytes. It
// gives up the verbatim message first, then cuts the longest strings.
func Event(p *executorv1.RunEventPayload) {
	Message(p)
	if proto.Size(p) <= MaxEventBytes {
		return
	}
	if m := p.GetMessageAdded(); m != nil {
		m.VerbatimJson = ""
	}
	for limit := MaxEventBytes / 4; proto.Size(p) > MaxEventBytes && limit >= minCut; limit /= 4 {
		walk(p.ProtoReflect(), func(s string) string { return cut(s, limit) })
	}
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return fmt.Sprintf("%s… [cut, %d bytes in all]", Head(s, limit), len(s))
}

// walk applies edit to every string value and map key below m.
func walk(m protoreflect.Message, edit func(string) string) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			walkMap(fd, v.Map(), edit)
		case fd.IsList():
			walkList(fd, v.List(), edit)
		case fd.Kind() == protoreflect.StringKind:
			if s := v.String(); edit(s) != s {
				m.Set(fd, protoreflect.ValueOfString(edit(s)))
			}
		case fd.Message() != nil:
			walk(v.Message(), edit)
		}
		return true
	})
}

func walkList(fd protoreflect.FieldDescriptor, list protoreflect.List, edit func(string) string) {
	for i := range list.Len() {
		switch {
		case fd.Kind() == protoreflect.StringKind:
			list.Set(i, protoreflect.ValueOfString(edit(list.Get(i).String())))
		case fd.Message() != nil:
			walk(list.Get(i).Message(), edit)
		}
	}
}

func walkMap(fd protoreflect.FieldDescriptor, entries protoreflect.Map, edit func(string) string) {
	renamed := make(map[string]protoreflect.Value)
	entries.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		switch {
		case fd.MapValue().Kind() == protoreflect.StringKind:
			entries.Set(k, protoreflect.ValueOfString(edit(v.String())))
		case fd.MapValue().Message() != nil:
			walk(v.Message(), edit)
		}
		if fd.MapKey().Kind() == protoreflect.StringKind && edit(k.String()) != k.String() {
			renamed[k.String()] = entries.Get(k)
		}
		return true
	})
	for key, value := range renamed {
		entries.Clear(protoreflect.ValueOfString(key).MapKey())
		entries.Set(protoreflect.ValueOfString(edit(key)).MapKey(), value)
	}
}
