package rpcserver

import (
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	_ "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	_ "github.com/poco-ai/poco/gen/go/poco/manager/v1"
	_ "github.com/poco-ai/poco/gen/go/poco/queue/v1"
)

// opaque are fields that end in "id" and are not UUIDs: whatever their owner
// makes them.
var opaque = map[string]bool{
	"client_request_id": true, "worker_id": true, "tool_use_id": true, "parent_tool_use_id": true, "agent_session_id": true,
	"agent_message_id": true, "message_id": true, "reported_message_ids": true, "user_id": true,
	// The manager's own ids, given back to it as they are.
	"command_id": true,
	// poco.backend.v1.InputFile.id and Todo.id.
	"id": true,
	// poco.backend.v1.UserQuestion.id, made by the agent's driver.
	"question_id": true,
}

// inputs are the messages that clients send, with all inside of them.
func inputs(t *testing.T) map[protoreflect.FullName]protoreflect.MessageDescriptor {
	t.Helper()
	all := make(map[protoreflect.FullName]protoreflect.MessageDescriptor)
	var add func(protoreflect.MessageDescriptor)
	add = func(m protoreflect.MessageDescriptor) {
		// What an executor reports is one event of a run, stored under the run's id.
		if all[m.FullName()] != nil || !strings.HasPrefix(string(m.FullName()), "poco.") ||
			m.FullName() == "poco.executor.v1.RunEventPayload" || m.FullName() == "poco.backend.v1.PartialContent" {
			return
		}
		all[m.FullName()] = m
		for i := range m.Fields().Len() {
			if inner := m.Fields().Get(i).Message(); inner != nil {
				add(inner)
			}
		}
	}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "poco.") || f.Package() == "poco.config.v1" {
			return true
		}
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				add(methods.Get(j).Input())
			}
		}
		return true
	})
	require.NotEmpty(t, all)
	return all
}

// Anyone who adds an id to a request gives it the rule that makes it one.
func TestEveryIDOfARequestIsDeclaredAsOne(t *testing.T) {
	for name, m := range inputs(t) {
		for i := range m.Fields().Len() {
			fd := m.Fields().Get(i)
			field := string(fd.Name())
			if fd.IsMap() {
				require.False(t, isID(fd.MapKey()) || isID(fd.MapValue()), "%s.%s: ids in maps are not made canonical", name, field)
				continue
			}
			isNamed := field == "id" || strings.HasSuffix(field, "_id") || strings.HasSuffix(field, "_ids")
			if fd.Kind() == protoreflect.StringKind && isNamed && !opaque[field] {
				require.True(t, isID(fd), "%s.%s needs the rule string.uuid", name, field)
			}
		}
	}
}

// A session is taken out of its project by an empty id.
func TestAnIDMayBeSetToNothing(t *testing.T) {
	request := &backendv1.UpdateSessionRequest{SessionId: uuid.NewString(), ProjectId: proto.String("")}
	require.NoError(t, protovalidate.Validate(request))
	request.ProjectId = proto.String("nothing")
	require.Error(t, protovalidate.Validate(request))
}

// Every id of every request reaches its handler in one spelling.
func TestIDsAreMadeCanonical(t *testing.T) {
	id := uuid.NewString()
	checked := 0
	var fill func(m protoreflect.Message, depth int)
	fill = func(m protoreflect.Message, depth int) {
		for i := range m.Descriptor().Fields().Len() {
			fd := m.Descriptor().Fields().Get(i)
			switch {
			case fd.IsMap():
			case isID(fd) && fd.IsList():
				m.Mutable(fd).List().Append(protoreflect.ValueOfString(strings.ToUpper(id)))
			case isID(fd):
				m.Set(fd, protoreflect.ValueOfString(strings.ToUpper(id)))
			case fd.Message() != nil && depth < 4 && fd.IsList():
				fill(m.Mutable(fd).List().AppendMutable().Message(), depth+1)
			case fd.Message() != nil && depth < 4:
				fill(m.Mutable(fd).Message(), depth+1)
			}
		}
	}
	var check func(m protoreflect.Message)
	check = func(m protoreflect.Message) {
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case fd.IsMap():
			case isID(fd) && fd.IsList():
				require.Equal(t, id, v.List().Get(0).String(), fd.FullName())
			case isID(fd):
				checked++
				require.Equal(t, id, v.String(), fd.FullName())
			case fd.Message() != nil && fd.IsList():
				for i := range v.List().Len() {
					check(v.List().Get(i).Message())
				}
			case fd.Message() != nil:
				check(v.Message())
			}
			return true
		})
	}
	for _, desc := range inputs(t) {
		m := dynamicpb.NewMessage(desc)
		fill(m, 0)
		canonicalize(m)
		check(m)
	}
	require.Greater(t, checked, 20)
}
