package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const (
	// maxViolations bounds what is told of one request.
	maxViolations = 20
	// maxShown bounds the characters of a caller's own name or value in a message.
	maxShown = 100
	// farthest is how many letters may differ between a name and the one that was
	// probably meant; half as many where names are short.
	farthest  = 2
	shortName = 6
)

// explain finds out which fields of a request protojson refused, and why. cause
// is what it said.
func explain(data []byte, message protoreflect.MessageDescriptor, cause error) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return rpcerror.InvalidFields(rpcerror.FieldViolation{Description: "the body is not valid JSON: " + plain(cause)}).WithCause(cause)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return rpcerror.InvalidFields(rpcerror.FieldViolation{Description: "the body has something behind its JSON object"}).WithCause(cause)
	}
	w := &walk{}
	w.message("", message, value)
	if len(w.found) == 0 {
		w.add("", plain(cause))
	}
	return rpcerror.InvalidFields(w.found...).WithCause(cause)
}

// plain is an error of protojson in words for a caller. The library puts
// non-breaking spaces into its texts, so that nobody compares them.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "proto:"))
}

// walk compares a JSON value with what a message takes.
type walk struct{ found []rpcerror.FieldViolation }

func (w *walk) add(path, description string) {
	if len(w.found) < maxViolations {
		w.found = append(w.found, rpcerror.FieldViolation{Field: path, Description: description})
	}
}

func (w *walk) message(path string, message protoreflect.MessageDescriptor, value any) {
	if message.FullName().Parent() == "google.protobuf" {
		// A form of its own, such as "1.5s".
		if err := protojson.Unmarshal(encode(value), dynamicpb.NewMessage(message)); err != nil {
			w.add(path, plain(err))
		}
		return
	}
	object, ok := value.(map[string]any)
	if !ok {
		w.add(path, "expected an object, found "+kindOf(value))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		below := join(path, key)
		field := fieldOf(message, key)
		if field == nil {
			w.add(below, "is not a field"+of(path)+suggest(message, path, key))
			continue
		}
		w.field(below, field, object[key])
	}
}

func (w *walk) field(path string, field protoreflect.FieldDescriptor, value any) {
	switch {
	case value == nil: // the same as leaving it out
	case field.IsMap():
		object, ok := value.(map[string]any)
		if !ok {
			w.add(path, "expected an object, found "+kindOf(value))
			return
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			w.value(path+"["+string(encode(shown(key)))+"]", field.MapValue(), object[key])
		}
	case field.IsList():
		list, ok := value.([]any)
		if !ok {
			w.add(path, "expected a list, found "+kindOf(value))
			return
		}
		for i, element := range list {
			w.value(fmt.Sprintf("%s[%d]", path, i), field, element)
		}
	default:
		w.value(path, field, value)
	}
}

// value checks a single value of a field, an element of a list or a map.
func (w *walk) value(path string, field protoreflect.FieldDescriptor, value any) {
	if field.Message() != nil {
		w.message(path, field.Message(), value)
		return
	}
	single := value
	if field.IsList() {
		single = []any{value}
	}
	object := map[string]any{field.TextName(): single}
	if protojson.Unmarshal(encode(object), dynamicpb.NewMessage(field.ContainingMessage())) == nil {
		return
	}
	if name, ok := value.(string); ok && field.Enum() != nil {
		w.add(path, fmt.Sprintf("%q is not one of its values%s", shown(name), suggestValue(field.Enum(), name)))
		return
	}
	w.add(path, "expected "+expected(field)+", found "+kindOf(value))
}

func fieldOf(message protoreflect.MessageDescriptor, key string) protoreflect.FieldDescriptor {
	if field := message.Fields().ByJSONName(key); field != nil {
		return field
	}
	return message.Fields().ByTextName(key)
}

// suggest says which field was probably meant: one with a name like it, or one
// of that name in a message below.
func suggest(message protoreflect.MessageDescriptor, path, key string) string {
	var names, below []string
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		names = append(names, field.JSONName())
		if field.Message() == nil || field.IsMap() || field.IsList() || field.Message().FullName().Parent() == "google.protobuf" {
			continue
		}
		if found := fieldOf(field.Message(), key); found != nil {
			below = append(below, join(path, join(field.JSONName(), found.JSONName())))
		}
	}
	if meant := closest(key, names); meant != "" {
		return ": did you mean " + join(path, meant) + "?"
	}
	if len(below) > 0 {
		return ": did you mean " + strings.Join(below, " or ") + "?"
	}
	return ""
}

func suggestValue(enum protoreflect.EnumDescriptor, name string) string {
	var names []string
	for i := range enum.Values().Len() {
		if value := enum.Values().Get(i); value.Number() != 0 {
			names = append(names, string(value.Name()))
		}
	}
	if meant := closest(name, names); meant != "" {
		return ": did you mean " + meant + "?"
	}
	for _, full := range names { // RUNNING for RUN_STATUS_RUNNING
		if name != "" && strings.HasSuffix(full, "_"+strings.ToUpper(name)) {
			return ": did you mean " + full + "?"
		}
	}
	return ": " + strings.Join(names, ", ")
}

// closest returns the name that differs least, case and underscores apart; empty
// when all differ by more than a slip.
func closest(name string, names []string) string {
	best, distance := "", farthest+1
	for _, candidate := range names {
		d := levenshtein.ComputeDistance(folded(name), folded(candidate))
		limit := farthest
		if len(candidate) < shortName && !sameLetters(name, candidate) {
			limit = farthest / 2
		}
		if d <= limit && d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// sameLetters tells whether only the order differs, as in anme.
func sameLetters(a, b string) bool {
	return slices.Equal(slices.Sorted(slices.Values([]rune(folded(a)))), slices.Sorted(slices.Values([]rune(folded(b)))))
}

func folded(name string) string { return strings.ToLower(strings.ReplaceAll(shown(name), "_", "")) }

// shown cuts what a caller wrote.
func shown(s string) string {
	if runes := []rune(s); len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return s
}

func join(path, name string) string {
	if path == "" {
		return shown(name)
	}
	return path + "." + shown(name)
}

func of(path string) string {
	if path == "" {
		return " of the request"
	}
	return " of " + path
}

func encode(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		return nil // what was decoded can be encoded
	}
	return data
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

func expected(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BytesKind:
		return "a string in base64"
	case protoreflect.EnumKind:
		return "the name of a value"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return "a whole number from 0 that fits " + field.Kind().String()
	default:
		return "a whole number that fits " + field.Kind().String()
	}
}
