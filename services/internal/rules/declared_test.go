package rules_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/poco-ai/poco/services/internal/testkit"
)

const (
	top          = "../../.."
	declaredFile = "buf/validate/validate.proto"
)

func buf(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("buf")
	if err != nil {
		testkit.Missing(t, "needs buf on PATH, where .ci/test puts it: PATH=\"$(.ci/tool-dir buf):$PATH\"")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	output, err := cmd.Output()
	if err != nil {
		require.NoError(t, err, "buf %v: %s%s", args, output, stderr(err))
	}
	return output
}

func stderr(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // as exec returns it
		return exit.Stderr
	}
	return nil
}

// clone is a folder with some of what a clone has.
func clone(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		to := filepath.Join(dir, name)
		if info, err := os.Stat(filepath.Join(top, name)); err == nil && info.IsDir() {
			require.NoError(t, os.CopyFS(to, os.DirFS(filepath.Join(top, name))))
			continue
		}
		content, err := os.ReadFile(filepath.Join(top, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, content, 0o600))
	}
	return dir
}

// only makes programs be all that is on PATH.
func only(t *testing.T, programs ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			testkit.Missing(t, "needs %s on PATH", name)
		}
		require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
	}
	t.Setenv("PATH", dir)
}

// TestProtosOfAFreshClone compiles what a clone has: proto/ and buf.yaml, no
// caches and no registry.
func TestProtosOfAFreshClone(t *testing.T) {
	clone := clone(t, "proto", "buf.yaml")
	buf(t, clone, "lint")
	buf(t, clone, "build")
	buf(t, clone, "build", "proto")
}

// TestBufGenerate makes generated code anew with nothing installed but buf and
// Go, and removes nothing that buf does not make.
func TestBufGenerate(t *testing.T) {
	only(t, "buf", "go")
	clone := clone(t, "proto", "buf.yaml", "buf.gen.yaml", ".ci", "gen", "go.mod")
	buf(t, clone, "generate")
	require.Equal(t, contents(t, filepath.Join(top, "gen")), contents(t, filepath.Join(clone, "gen")))
}

// TestAClientsOwnTemplate generates code for somebody's client with nothing but
// buf and a plugin.
func TestAClientsOwnTemplate(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "protoc-gen-go")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", plugin, "google.golang.org/protobuf/cmd/protoc-gen-go")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	only(t, "buf")
	clone := clone(t, "proto", "buf.yaml", "buf.gen.yaml")
	template := fmt.Sprintf(`{"version": "v2", "plugins": [{"local": %q, "out": "mine", "opt": "paths=source_relative"}],
		"managed": {"enabled": true, "override": [{"file_option": "go_package_prefix", "value": "example.org/mine"}]}}`, plugin)
	buf(t, clone, "generate", "--template", template)
	require.Contains(t, contents(t, filepath.Join(clone, "mine")), "poco/backend/v1/task_service.pb.go")
}

// contents are the files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(content)
		return err
	}))
	return files
}

// TestDeclaredRulesAreProtovalidates compares the rules that proto/ declares
// with the ones that the services are linked with.
func TestDeclaredRulesAreProtovalidates(t *testing.T) {
	var set descriptorpb.FileDescriptorSet
	image := buf(t, top, "build", "proto", "--path", "proto/"+declaredFile, "--as-file-descriptor-set", "-o", "-")
	require.NoError(t, proto.Unmarshal(image, &set))
	declared := declaredRules(t, &set)
	official := validate.File_buf_validate_validate_proto
	require.Equal(t, official.Package(), declared.Package())
	require.Equal(t, official.Options().(*descriptorpb.FileOptions).GetGoPackage(),
		declared.Options().(*descriptorpb.FileOptions).GetGoPackage(), "generated Go code imports protovalidate's package")

	require.Positive(t, declared.Extensions().Len())
	for ours := range each(declared.Extensions()) {
		theirs := official.Extensions().ByName(ours.Name())
		require.NotNil(t, theirs, ours.FullName())
		requireSameField(t, theirs, ours)
		require.Equal(t, theirs.ContainingMessage().FullName(), ours.ContainingMessage().FullName(), ours.FullName())
	}
	require.Positive(t, declared.Messages().Len())
	for ours := range each(declared.Messages()) {
		theirs := official.Messages().ByName(ours.Name())
		require.NotNil(t, theirs, ours.FullName())
		for field := range each(ours.Fields()) {
			other := theirs.Fields().ByName(field.Name())
			require.NotNil(t, other, field.FullName())
			requireSameField(t, other, field)
		}
	}
	for ours := range each(declared.Enums()) {
		theirs := official.Enums().ByName(ours.Name())
		require.NotNil(t, theirs, ours.FullName())
		for value := range each(ours.Values()) {
			other := theirs.Values().ByName(value.Name())
			require.NotNil(t, other, value.FullName())
			require.Equal(t, other.Number(), value.Number(), value.FullName())
		}
	}
}

func declaredRules(t *testing.T, set *descriptorpb.FileDescriptorSet) protoreflect.FileDescriptor {
	t.Helper()
	for _, file := range set.GetFile() {
		if file.GetName() == declaredFile {
			// What it imports is Google's.
			built, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
			require.NoError(t, err)
			return built
		}
	}
	require.FailNow(t, declaredFile+" is not in the image")
	return nil
}

func requireSameField(t *testing.T, theirs, ours protoreflect.FieldDescriptor) {
	t.Helper()
	name := ours.FullName()
	require.Equal(t, theirs.Number(), ours.Number(), name)
	require.Equal(t, theirs.Kind(), ours.Kind(), name)
	require.Equal(t, theirs.Cardinality(), ours.Cardinality(), name)
	require.Equal(t, theirs.IsPacked(), ours.IsPacked(), name)
	if theirs.Message() != nil {
		require.Equal(t, theirs.Message().FullName(), ours.Message().FullName(), name)
	}
	if theirs.Enum() != nil {
		require.Equal(t, theirs.Enum().FullName(), ours.Enum().FullName(), name)
	}
	if theirs.ContainingOneof() == nil {
		require.Nil(t, ours.ContainingOneof(), name)
	} else {
		require.NotNil(t, ours.ContainingOneof(), name)
		require.Equal(t, theirs.ContainingOneof().Name(), ours.ContainingOneof().Name(), name)
	}
}

// each ranges over a list of descriptors.
func each[T any](list interface {
	Len() int
	Get(i int) T
},
) func(func(T) bool) {
	return func(yield func(T) bool) {
		for i := range list.Len() {
			if !yield(list.Get(i)) {
				return
			}
		}
	}
}
