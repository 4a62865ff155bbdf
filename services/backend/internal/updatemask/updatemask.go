// Package updatemask reads which fields an update is to change, as
// https://google.aip.dev/134 has it.
package updatemask

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// all is the path that names every field.
const all = "*"

// Fields returns the fields that a request changes, of those that can be
// changed: without a mask the ones that are set. A path that is none of them is
// InvalidArgument.
func Fields(req proto.Message, mask *fieldmaskpb.FieldMask, changeable ...string) ([]string, error) {
	paths := mask.GetPaths()
	switch {
	case len(paths) == 0:
		m := req.ProtoReflect()
		return slices.DeleteFunc(slices.Clone(changeable), func(name string) bool {
			return !m.Has(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
		}), nil
	case len(paths) == 1 && paths[0] == all:
		return changeable, nil
	}
	for _, path := range paths {
		if !slices.Contains(changeable, path) {
			return nil, rpcerror.InvalidArgument("update_mask", fmt.Sprintf("%q is none of the fields that can be changed: %s", path, strings.Join(changeable, ", ")))
		}
	}
	return paths, nil
}
