package rpcserver

import (
	"context"
	"strings"
	"sync"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// canonicalIDs writes the ids of every request in the one form that the
// database writes them in, before anything reads them: anyone who compares two of
// them compares values. The fields are those with the rule string.uuid, which
// takes upper case and refuses all other spellings, or with the pattern
// optionalID.
func canonicalIDs(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		return next(ctx, spec, canonicalizing{stream})
	}
}

type canonicalizing struct{ connect.ServerStream }

// Receive implements connect.ServerStream.
func (c canonicalizing) Receive(msg any) error {
	err := c.ServerStream.Receive(msg)
	if m, ok := msg.(proto.Message); ok && err == nil {
		canonicalize(m.ProtoReflect())
	}
	return err
}

func canonicalize(m protoreflect.Message) {
	for _, fd := range idFields(m.Descriptor()) {
		if !m.Has(fd) {
			continue
		}
		switch {
		case fd.IsList() && fd.Message() != nil:
			list := m.Get(fd).List()
			for i := range list.Len() {
				canonicalize(list.Get(i).Message())
			}
		case fd.IsList():
			list := m.Mutable(fd).List()
			for i := range list.Len() {
				list.Set(i, protoreflect.ValueOfString(strings.ToLower(list.Get(i).String())))
			}
		case fd.Message() != nil:
			canonicalize(m.Get(fd).Message())
		default:
			m.Set(fd, protoreflect.ValueOfString(strings.ToLower(m.Get(fd).String())))
		}
	}
}

// idFieldsOf is what idFields has found: most messages have none, and batches of
// events are large.
var idFieldsOf sync.Map // protoreflect.FullName -> []protoreflect.FieldDescriptor

// idFields are the fields of a message that are ids, or have ids inside.
func idFields(desc protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	if found, ok := idFieldsOf.Load(desc.FullName()); ok {
		return found.([]protoreflect.FieldDescriptor)
	}
	var fields []protoreflect.FieldDescriptor
	for i := range desc.Fields().Len() {
		if fd := desc.Fields().Get(i); leadsToID(fd, map[protoreflect.FullName]bool{desc.FullName(): true}) {
			fields = append(fields, fd)
		}
	}
	idFieldsOf.Store(desc.FullName(), fields)
	return fields
}

// leadsToID tells whether a field is an id, or a message with one inside; above
// are the messages that it is in.
func leadsToID(fd protoreflect.FieldDescriptor, above map[protoreflect.FullName]bool) bool {
	if fd.IsMap() {
		return false // no map has ids; a test says so
	}
	inner := fd.Message()
	if inner == nil {
		return isID(fd)
	}
	if above[inner.FullName()] {
		return false
	}
	above[inner.FullName()] = true
	defer delete(above, inner.FullName())
	for i := range inner.Fields().Len() {
		if leadsToID(inner.Fields().Get(i), above) {
			return true
		}
	}
	return false
}

// optionalID is the pattern of an id that may be set to nothing: a field with
// presence cannot have the rule string.uuid and be empty.
const optionalID = "^$|^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

func isID(fd protoreflect.FieldDescriptor) bool {
	if fd.Kind() != protoreflect.StringKind {
		return false
	}
	rules, err := protovalidate.ResolveFieldRules(fd)
	if err != nil {
		return false // no rules that can be read; validation says so at each call
	}
	return rules.GetString().GetUuid() || rules.GetString().GetPattern() == optionalID || rules.GetRepeated().GetItems().GetString().GetUuid()
}
