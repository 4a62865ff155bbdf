// Package schema reads the definitions of settings from the config messages: the
// (poco.config.v1.setting) option, the protovalidate rules and the comments of
// their fields. Loader, reports, reference and JSON Schema all stand on it.
package schema

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/poco-ai/poco/gen/configcomments"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

const (
	durationName protoreflect.FullName = "google.protobuf.Duration"
	secretName   protoreflect.FullName = "poco.config.v1.SecretValue"
)

// FileSuffix ends the name of a variable that names the file of a secret.
const FileSuffix = "_FILE"

// Service is a program that has settings.
type Service struct {
	// Name is as in reports, for example "manager".
	Name string
	// Message is its config message, empty and new.
	Message proto.Message
}

// Services are all programs that have settings, in the order of the reference.
func Services() []Service {
	return []Service{
		{"backend", &configv1.BackendConfig{}},
		{"manager", &configv1.ManagerConfig{}},
		{"executor", &configv1.ExecutorConfig{}},
		{"frontend", &configv1.FrontendConfig{}},
		{"stack", &configv1.StackConfig{}},
		{"poco", &configv1.PocoConfig{}},
	}
}

// Named finds the service of a name.
func Named(name string) (service Service, ok bool) {
	services := Services()
	i := slices.IndexFunc(services, func(s Service) bool { return s.Name == name })
	if i < 0 {
		return Service{}, false
	}
	return services[i], true
}

// Settings are the service's settings.
func (s Service) Settings() []*Setting { return Of(s.Message.ProtoReflect().Descriptor()) }

// Setting is one annotated field of a config message.
type Setting struct {
	*configv1.Setting
	// Path is where the field is, for example "logging.level".
	Path string
	Kind Kind
	// Group is the message that has the field.
	Group protoreflect.MessageDescriptor

	// parents lead from the config message to the message that has the field.
	parents []protoreflect.FieldDescriptor
	field   protoreflect.FieldDescriptor
}

// Kind is how a setting's value is read.
type Kind int

// The kinds of values.
const (
	String Kind = iota
	Bool
	Integer
	Number
	Duration
	Size
	List
	// SecretText is a value that is secret as a whole.
	SecretText
	// SecretURL is a URL whose user info is secret.
	SecretURL
)

// IsSecret tells whether the value must not be shown.
func (s *Setting) IsSecret() bool { return s.Kind == SecretText || s.Kind == SecretURL }

// Names are the variables that set it: its own, then its aliases.
func (s *Setting) Names() []string { return append([]string{s.GetEnv()}, s.GetAliases()...) }

// FileNames are the variables that name the file of a secret, in the order of
// Names; none for what is not secret.
func (s *Setting) FileNames() []string {
	if !s.IsSecret() {
		return nil
	}
	names := s.Names()
	for i := range names {
		names[i] += FileSuffix
	}
	return names
}

// Type is the type as reports show it, see ConfigField.type.
func (s *Setting) Type() string {
	switch {
	case s.Kind == String && s.GetFormat() != configv1.Format_FORMAT_UNSPECIFIED:
		return formats[s.GetFormat()].name
	case s.Kind == String && len(s.Choices()) > 0:
		return "choice"
	default:
		return [...]string{"string", "bool", "integer", "number", "duration", "size", "list", "secret", "secret"}[s.Kind]
	}
}

// Of finds all settings of a config message. A mistake in the schema is a
// mistake in the program: it panics.
func Of(message protoreflect.MessageDescriptor) []*Setting {
	return collect(nil, message, "", nil)
}

func collect(out []*Setting, message protoreflect.MessageDescriptor, prefix string, parents []protoreflect.FieldDescriptor) []*Setting {
	fields := message.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		path := prefix + string(field.Name())
		options, ok := proto.GetExtension(field.Options(), configv1.E_Setting).(*configv1.Setting)
		switch {
		case ok && options.GetEnv() != "":
			out = append(out, &Setting{
				Setting: options, Path: path, Kind: kindOf(field, options), Group: message, parents: parents, field: field,
			})
		case field.Kind() == protoreflect.MessageKind && !field.IsList() && !field.IsMap():
			// A copy: siblings must not share the tail of one array.
			inner := append(slices.Clone(parents), field)
			out = collect(out, field.Message(), path+".", inner)
		default:
			panic(fmt.Sprintf("config schema: field %s has no setting", field.FullName()))
		}
	}
	return out
}

func kindOf(field protoreflect.FieldDescriptor, options *configv1.Setting) Kind {
	isSecret := field.Kind() == protoreflect.MessageKind && field.Message().FullName() == secretName
	if isSecret != (options.GetSecret() || options.GetSecretUrl()) {
		panic(fmt.Sprintf("config schema: field %s is a secret by its type or by its setting, not by both", field.FullName()))
	}
	switch {
	case options.GetSecretUrl():
		return SecretURL
	case options.GetSecret():
		return SecretText
	case field.IsList() && field.Kind() == protoreflect.StringKind:
		return List
	case field.IsList() || field.IsMap():
	case field.Kind() == protoreflect.StringKind:
		return String
	case field.Kind() == protoreflect.BoolKind:
		return Bool
	case field.Kind() == protoreflect.DoubleKind:
		return Number
	case field.Kind() == protoreflect.MessageKind && field.Message().FullName() == durationName && durationUnit(options.GetUnit()) > 0:
		return Duration
	case field.Kind() == protoreflect.Int32Kind || field.Kind() == protoreflect.Int64Kind:
		if sizeUnit(options.GetUnit()) > 0 {
			return Size
		}
		return Integer
	}
	panic(fmt.Sprintf("config schema: field %s has a type or unit that no setting can have", field.FullName()))
}

// holder returns the message that has the field, made when missing.
func (s *Setting) holder(root protoreflect.Message) protoreflect.Message {
	for _, parent := range s.parents {
		root = root.Mutable(parent).Message()
	}
	return root
}

// Value is the field's value in the config message. It changes nothing in the
// message, so that several may read one.
func (s *Setting) Value(root protoreflect.Message) protoreflect.Value {
	for _, parent := range s.parents {
		root = root.Get(parent).Message()
	}
	return root.Get(s.field)
}

// Copy takes the setting's value over from another config message of the same
// type; they share what is in it.
func (s *Setting) Copy(to, from protoreflect.Message) {
	holder, source := s.holder(to), s.holder(from)
	if !source.Has(s.field) {
		holder.Clear(s.field)
		return
	}
	holder.Set(s.field, source.Get(s.field))
}

// Description is the field's leading comment.
func (s *Setting) Description() string { return configcomments.Fields[string(s.field.FullName())] }
