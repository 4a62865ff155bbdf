package configservice

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/poco-ai/poco/gen/configcomments"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config/jsonschema"
	"github.com/poco-ai/poco/services/internal/config/schema"
	"github.com/poco-ai/poco/services/internal/version"
)

// Field numbers of descriptor.proto, for the paths of comments.
const (
	fileMessages  = 4
	messageFields = 2
)

// schemaOf is what can be set of a service.
func schemaOf(name string) (*configv1.GetConfigSchemaResponse, error) {
	service, ok := schema.Named(name)
	if !ok {
		return nil, fmt.Errorf("there is no schema of the service %q", name)
	}
	text, err := jsonschema.Of(service)
	if err != nil {
		return nil, fmt.Errorf("write the JSON Schema of the %s: %w", name, err)
	}
	message := service.Message.ProtoReflect().Descriptor()
	set := &descriptorpb.FileDescriptorSet{}
	addFile(set, map[string]bool{}, message.ParentFile())
	return &configv1.GetConfigSchemaResponse{
		Service: name, Version: version.String(), JsonSchema: string(text),
		MessageName: string(message.FullName()), FileDescriptorSet: set,
	}, nil
}

// addFile adds a file after the files it imports.
func addFile(set *descriptorpb.FileDescriptorSet, added map[string]bool, file protoreflect.FileDescriptor) {
	if added[file.Path()] {
		return
	}
	added[file.Path()] = true
	for i := range file.Imports().Len() {
		addFile(set, added, file.Imports().Get(i).FileDescriptor)
	}
	described := protodesc.ToFileDescriptorProto(file)
	described.SourceCodeInfo = comments(file)
	set.File = append(set.File, described)
}

// comments are the descriptions of the settings in a file, in the place where a
// compiler puts comments: generated code has none. Lines and columns are not
// known.
func comments(file protoreflect.FileDescriptor) *descriptorpb.SourceCodeInfo {
	info := &descriptorpb.SourceCodeInfo{}
	for i := range file.Messages().Len() {
		fields := file.Messages().Get(i).Fields()
		for j := range fields.Len() {
			comment, ok := configcomments.Fields[string(fields.Get(j).FullName())]
			if !ok {
				continue
			}
			info.Location = append(info.Location, &descriptorpb.SourceCodeInfo_Location{
				Path: []int32{fileMessages, int32(i), messageFields, int32(j)}, Span: []int32{0, 0, 0},
				LeadingComments: proto.String(" " + comment + "\n"),
			})
		}
	}
	if len(info.GetLocation()) == 0 {
		return nil
	}
	return info
}
