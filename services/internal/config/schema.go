package config

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

const (
	durationName protoreflect.FullName = "google.protobuf.Duration"
	secretName   protoreflect.FullName = "poco.config.v1.SecretValue"
)

// setting is one annotated field of a config message.
type setting struct {
	*configv1.Setting
	// path is where the field is, for example "logging.level".
	path string
	// parents lead from the config message to the message that has the field.
	parents []protoreflect.FieldDescriptor
	field   protoreflect.FieldDescriptor
	kind    kind
}

// kind is how a setting's value is read.
type kind int

const (
	kindString kind = iota
	kindBool
	kindInteger
	kindNumber
	kindDuration
	kindSize
	kindList
	kindSecret
	kindSecretURL
)

// String is the type as reports show it.
func (k kind) String() string {
	return [...]string{"string", "bool", "integer", "number", "duration", "size", "list", "secret", "secret"}[k]
}

func (k kind) isSecret() bool { return k == kindSecret || k == kindSecretURL }

// settingsOf finds all settings of a config message. A mistake in the schema is
// a mistake in the program: it panics.
func settingsOf(message protoreflect.MessageDescriptor) []*setting {
	return collect(nil, message, "", nil)
}

func collect(out []*setting, message protoreflect.MessageDescriptor, prefix string, parents []protoreflect.FieldDescriptor) []*setting {
	fields := message.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		path := prefix + string(field.Name())
		options, ok := proto.GetExtension(field.Options(), configv1.E_Setting).(*configv1.Setting)
		switch {
		case ok && options.GetEnv() != "":
			out = append(out, &setting{Setting: options, path: path, parents: parents, field: field, kind: kindOf(field, options)})
		case field.Kind() == protoreflect.MessageKind && !field.IsList() && !field.IsMap():
			// A copy: siblings must not share the tail of one array.
			inner := append(slices.Clone(parents), field)
			out = collect(out, field.Message(), path+".", inner)
		default:
			panic(fmt.Sprintf("config: field %s has no setting", field.FullName()))
		}
	}
	return out
}

func kindOf(field protoreflect.FieldDescriptor, options *configv1.Setting) kind {
	isSecret := field.Kind() == protoreflect.MessageKind && field.Message().FullName() == secretName
	if isSecret != (options.GetSecret() || options.GetSecretUrl()) {
		panic(fmt.Sprintf("config: field %s is a secret by its type or by its setting, not by both", field.FullName()))
	}
	switch {
	case options.GetSecretUrl():
		return kindSecretURL
	case options.GetSecret():
		return kindSecret
	case field.IsList() && field.Kind() == protoreflect.StringKind:
		return kindList
	case field.IsList() || field.IsMap():
	case field.Kind() == protoreflect.StringKind:
		return kindString
	case field.Kind() == protoreflect.BoolKind:
		return kindBool
	case field.Kind() == protoreflect.DoubleKind:
		return kindNumber
	case field.Kind() == protoreflect.MessageKind && field.Message().FullName() == durationName && durationUnit(options.GetUnit()) > 0:
		return kindDuration
	case field.Kind() == protoreflect.Int32Kind || field.Kind() == protoreflect.Int64Kind:
		if sizeUnit(options.GetUnit()) > 0 {
			return kindSize
		}
		return kindInteger
	}
	panic(fmt.Sprintf("config: field %s has a type or unit that no setting can have", field.FullName()))
}

// holder returns the message that has the field, made when missing.
func (s *setting) holder(root protoreflect.Message) protoreflect.Message {
	for _, parent := range s.parents {
		root = root.Mutable(parent).Message()
	}
	return root
}

func (s *setting) get(root protoreflect.Message) protoreflect.Value {
	return s.holder(root).Get(s.field)
}
