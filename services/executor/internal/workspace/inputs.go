package workspace

import (
	"errors"
	"fmt"
	"os"
	"path"

	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// AddInputs puts files into the folder of inputs, in the place of what is there.
func (w *Workspace) AddInputs(files []*executorv1.RunFile) error {
	if len(files) == 0 {
		return nil
	}
	root, err := os.OpenRoot(w.opts.Root)
	if err != nil {
		return fmt.Errorf("opening the workspace: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing was written through it
	for _, f := range files {
		if err := addInput(root, f); err != nil {
			return fmt.Errorf("%q: %w", f.GetPath(), err)
		}
	}
	return nil
}

func addInput(root *os.Root, f *executorv1.RunFile) error {
	name := path.Join(InputsDirName, path.Clean("/"+f.GetPath()))
	if name == InputsDirName {
		return errors.New("is not the path of a file")
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	// Removed first: what is there may be a pipe, which would hold the run up.
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if f.GetExecutable() {
		mode = 0o755
	}
	return root.WriteFile(name, f.GetContent(), mode)
}
