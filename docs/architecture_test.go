// Package docs holds the handbook to what the code has.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testName = regexp.MustCompile(`\bTest[A-Z]\w*`)
	// A name in a package of ours: `queue.Queue.Claim`, `presence` is not one.
	qualified = regexp.MustCompile("`([a-z]+)\\.(?:[A-Za-z]+\\.)*([A-Za-z]+)`")
	link      = regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
)

// TestNamesInTheHandbookExist finds names of tests and of other things that the
// code no longer has, and links to files that are not there.
func TestNamesInTheHandbookExist(t *testing.T) {
	tests, packages := declarations(t)
	pages := []string{"../README.md"}
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
		return err
	}))
	require.Greater(t, len(pages), 3)
	for _, page := range pages {
		content := read(t, page)
		for _, name := range testName.FindAllString(content, -1) {
			require.True(t, tests[name], "%s names the test %s, which does not exist", page, name)
		}
		for _, m := range qualified.FindAllStringSubmatch(content, -1) {
			if names, ours := packages[m[1]]; ours {
				require.True(t, names[m[2]], "%s names %s, which package %s does not have", page, m[0], m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(content, -1) {
			if !strings.Contains(m[1], "://") {
				_, err := os.Stat(filepath.Join(filepath.Dir(page), m[1]))
				require.NoError(t, err, "%s links to it", page)
			}
		}
	}
}

// TestInvariantsAreProven wants the name of a test with each invariant and with
// each crash.
func TestInvariantsAreProven(t *testing.T) {
	architecture := read(t, "architecture.md")
	section := func(title string) string {
		_, after, found := strings.Cut(architecture, "\n## "+title+"\n")
		require.True(t, found, title)
		body, _, _ := strings.Cut(after, "\n## ")
		return body
	}
	invariants := strings.Split(section("Invariants"), "\n- ")[1:]
	require.NotEmpty(t, invariants)
	for _, invariant := range invariants {
		require.Regexp(t, testName, invariant, "an invariant without a test")
	}
	rows := strings.Split(strings.TrimSpace(section("What survives which crash")), "\n")[2:]
	require.NotEmpty(t, rows)
	for _, row := range rows {
		require.Regexp(t, testName, row, "a crash without a test")
	}
}

func read(t *testing.T, page string) string {
	t.Helper()
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	return string(content)
}

// declarations reads the tests of all packages, and what each package declares.
func declarations(t *testing.T) (tests map[string]bool, packages map[string]map[string]bool) {
	t.Helper()
	tests, packages = make(map[string]bool), make(map[string]map[string]bool)
	files := token.NewFileSet()
	for _, root := range []string{"../services", "../db"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			names := packages[file.Name.Name]
			if names == nil {
				names = make(map[string]bool)
				packages[file.Name.Name] = names
			}
			isTest := strings.HasSuffix(path, "_test.go")
			for _, decl := range file.Decls {
				for _, name := range declared(decl) {
					if isTest && testName.MatchString(name) {
						tests[name] = true
					}
					names[name] = true
				}
			}
			return nil
		}))
	}
	return tests, packages
}

func declared(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		names = append(names, d.Name.Name)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
				if i, ok := s.Type.(*ast.InterfaceType); ok {
					for _, method := range i.Methods.List {
						for _, name := range method.Names {
							names = append(names, name.Name)
						}
					}
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}
