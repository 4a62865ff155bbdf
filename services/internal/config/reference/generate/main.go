// Generate writes everything that follows from the schema of settings, below the
// folder given: the reference in both languages, the example of a .env file, and
// the JSON Schema of each service.
//
//	go run ./services/internal/config/reference/generate .
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/poco-ai/poco/services/internal/config/jsonschema"
	"github.com/poco-ai/poco/services/internal/config/reference"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	services := schema.Services()
	files := map[string]func(io.Writer) error{
		"docs/configuration.md":    func(w io.Writer) error { return reference.Page(w, services, schema.English) },
		"docs/configuration.zh.md": func(w io.Writer) error { return reference.Page(w, services, schema.Chinese) },
		".env.example":             reference.Example,
	}
	for _, service := range services {
		files["gen/jsonschema/"+service.Name+".json"] = func(w io.Writer) error {
			data, err := jsonschema.Of(service)
			if err != nil {
				return err
			}
			_, err = w.Write(data)
			return err
		}
	}
	for name, content := range files {
		var b bytes.Buffer
		if err := content(&b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
