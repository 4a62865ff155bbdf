// Package rules checks the rules that the protos declare (buf.validate), where
// the time of the first check counts: protovalidate compiles a message's rules
// before it checks them, which takes longer than an executor needs for the
// rest of its start.
package rules

import (
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Validator is a protovalidate.Validator that asks protovalidate only about
// messages that are not plainly valid. It suits small messages that are
// checked once or twice in a process; for many, protovalidate is faster.
type Validator struct{}

var _ protovalidate.Validator = Validator{}

// Validate implements protovalidate.Validator.
func (Validator) Validate(msg proto.Message, options ...protovalidate.ValidationOption) error {
	if len(options) == 0 && PlainlyValid(msg) {
		return nil
	}
	return protovalidate.Validate(msg, options...)
}

// PlainlyValid tells whether a message breaks none of its rules, all of its
// fields' being simple ones. False says nothing: ask protovalidate.
func PlainlyValid(msg proto.Message) bool { return valid(msg.ProtoReflect()) }

func valid(m protoreflect.Message) bool {
	d := m.Descriptor()
	if !obeysMessageRules(m) {
		return false
	}
	for i := range d.Oneofs().Len() {
		if oneof := d.Oneofs().Get(i); m.WhichOneof(oneof) == nil && proto.HasExtension(oneof.Options(), validate.E_Oneof) {
			return false // its only rule is that one is set
		}
	}
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		if !obeys(m, field) || m.Has(field) && !validInside(m.Get(field), field) {
			return false
		}
	}
	return true
}

// validInside checks the messages that a field holds.
func validInside(value protoreflect.Value, field protoreflect.FieldDescriptor) bool {
	switch {
	case field.IsMap():
		if field.MapValue().Message() == nil {
			return true
		}
		ok := true
		value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			ok = valid(v.Message())
			return ok
		})
		return ok
	case field.Message() == nil:
		return true
	case field.IsList():
		for i := range value.List().Len() {
			if !valid(value.List().Get(i).Message()) {
				return false
			}
		}
		return true
	default:
		return valid(value.Message())
	}
}

// obeys checks a field's own rules; false also when one of them is not simple.
func obeys(m protoreflect.Message, field protoreflect.FieldDescriptor) bool {
	if !proto.HasExtension(field.Options(), validate.E_Field) {
		return true
	}
	rules, ok := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	if !ok || len(rules.GetCel())+len(rules.GetCelExpression()) > 0 {
		return false
	}
	has := m.Has(field)
	switch {
	case rules.GetIgnore() == validate.Ignore_IGNORE_ALWAYS:
		return false
	case rules.GetRequired() && !has:
		return false
	case !has && (field.HasPresence() || rules.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE):
		return true
	}
	value := m.Get(field)
	switch kind := rules.GetType().(type) {
	case nil:
		return true
	case *validate.FieldRules_String_:
		return field.Cardinality() != protoreflect.Repeated && obeysString(value.String(), kind.String_)
	case *validate.FieldRules_Int32:
		return obeysRange(int32(value.Int()), kind.Int32)
	case *validate.FieldRules_Int64:
		return obeysRange(value.Int(), kind.Int64)
	case *validate.FieldRules_Double:
		return obeysRange(value.Float(), kind.Double)
	case *validate.FieldRules_Duration:
		d, ok := value.Message().Interface().(*durationpb.Duration)
		return ok && d.IsValid() && obeysDuration(d.AsDuration(), kind.Duration)
	case *validate.FieldRules_Enum:
		return only(kind.Enum, "defined_only") && field.Enum() != nil && field.Enum().Values().ByNumber(value.Enum()) != nil
	case *validate.FieldRules_Repeated:
		return obeysCount(value.List().Len(), kind.Repeated)
	case *validate.FieldRules_Map:
		return obeysMap(value.Map(), kind.Map)
	default:
		return false
	}
}

// only tells whether a rule sets nothing but the named fields.
func only(rules proto.Message, names ...protoreflect.Name) bool {
	ok := len(rules.ProtoReflect().GetUnknown()) == 0
	rules.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		ok = ok && slices.Contains(names, f.Name())
		return ok
	})
	return ok
}

// obeysCount checks a list; rules about its items are simple when it has none.
func obeysCount(n int, rules *validate.RepeatedRules) bool {
	return only(rules, "min_items", "max_items", "items") && (n == 0 || rules.GetItems() == nil) &&
		uint64(n) >= rules.GetMinItems() && (!rules.HasMaxItems() || uint64(n) <= rules.GetMaxItems())
}

// obeysMap checks a map, with rules about keys that are strings.
func obeysMap(m protoreflect.Map, rules *validate.MapRules) bool {
	if !only(rules, "max_pairs", "keys") || rules.HasMaxPairs() && uint64(m.Len()) > rules.GetMaxPairs() {
		return false
	}
	keys := rules.GetKeys()
	if keys == nil || m.Len() == 0 {
		return true
	}
	ok := keys.GetString() != nil && only(keys, "string")
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		ok = ok && obeysString(k.String(), keys.GetString())
		return ok
	})
	return ok
}

func obeysString(s string, rules *validate.StringRules) bool {
	if !only(rules, "min_len", "max_len", "max_bytes", "in", "uuid", "ip") {
		return false
	}
	length := uint64(utf8.RuneCountInString(s))
	return length >= rules.GetMinLen() &&
		(!rules.HasMaxLen() || length <= rules.GetMaxLen()) &&
		(!rules.HasMaxBytes() || uint64(len(s)) <= rules.GetMaxBytes()) &&
		(len(rules.GetIn()) == 0 || slices.Contains(rules.GetIn(), s)) &&
		(!rules.GetIp() || isAddress(s)) &&
		(!rules.GetUuid() || len(s) == 36 && uuid.Validate(s) == nil)
}

// isAddress leaves addresses with a zone to protovalidate.
func isAddress(s string) bool {
	address, err := netip.ParseAddr(s)
	return err == nil && address.Zone() == ""
}

// bounds are rules of numbers.
type bounds[T int32 | int64 | float64] interface {
	proto.Message
	HasGt() bool
	GetGt() T
	HasGte() bool
	GetGte() T
	HasLt() bool
	GetLt() T
	HasLte() bool
	GetLte() T
}

func obeysRange[T int32 | int64 | float64](n T, rules bounds[T]) bool {
	return only(rules, "gt", "gte", "lt", "lte") &&
		(!rules.HasGt() || n > rules.GetGt()) && (!rules.HasGte() || n >= rules.GetGte()) &&
		(!rules.HasLt() || n < rules.GetLt()) && (!rules.HasLte() || n <= rules.GetLte())
}

func obeysDuration(d time.Duration, rules *validate.DurationRules) bool {
	return only(rules, "gt", "gte", "lt", "lte") &&
		(!rules.HasGt() || d > rules.GetGt().AsDuration()) && (!rules.HasGte() || d >= rules.GetGte().AsDuration()) &&
		(!rules.HasLt() || d < rules.GetLt().AsDuration()) && (!rules.HasLte() || d <= rules.GetLte().AsDuration())
}
