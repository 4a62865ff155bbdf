package workspace_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/manager/internal/fetch"
)

// web is what tests fetch, by URL.
type web map[string]fetch.File

func (w web) Get(_ context.Context, url string) (*fetch.File, error) {
	file, ok := w[url]
	if !ok {
		return nil, errors.New("answers 404 Not Found")
	}
	return &file, nil
}

func content(s string) io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte(s))) }

func repository(t *testing.T, headers ...*tar.Header) io.ReadCloser {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return io.NopCloser(&b)
}

func at(url string) *backendv1.InputFile_Url { return &backendv1.InputFile_Url{Url: url} }

func TestInputsFromTheWeb(t *testing.T) {
	s := open(t, nil)
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	inputs := filepath.Join(folders.Workspace, "inputs")
	require.NoError(t, os.MkdirAll(filepath.Join(inputs, "repo", "old"), 0o755))
	stage := func(w web, f *backendv1.InputFile) (string, error) {
		staged, err := s.StageInputs(t.Context(), "default", session, w, []*backendv1.InputFile{f})
		if err != nil {
			return "", err
		}
		return staged[0].GetPath(), nil
	}
	file := func(name, text string) web { return web{"u": {Body: content(text), Name: name}} }

	for _, c := range []struct {
		input *backendv1.InputFile
		want  string
	}{
		{&backendv1.InputFile{Source: at("u")}, "there.csv"},
		{&backendv1.InputFile{Source: at("u"), Name: "mine.csv"}, "mine.csv"},
		{&backendv1.InputFile{Source: at("u"), Name: "mine.csv", Path: "deep/er/x.csv"}, "deep/er/x.csv"},
	} {
		path, err := stage(file("there.csv", "a,b"), c.input)
		require.NoError(t, err)
		require.Equal(t, c.want, path)
		got, err := os.ReadFile(filepath.Join(inputs, c.want))
		require.NoError(t, err)
		require.Equal(t, "a,b", string(got))
	}
	for _, name := range []string{"..", "../x", "/etc/passwd", "a\nb"} {
		_, err := stage(file(name, "x"), &backendv1.InputFile{Source: at("u")})
		require.ErrorContains(t, err, "leads out", "%q", name)
	}
	_, err = stage(web{}, &backendv1.InputFile{Source: at("https://h/x"), Name: "x"})
	require.ErrorContains(t, err, `input file "x": cannot be fetched: answers 404 Not Found`)
	_, err = s.StageInputs(t.Context(), "default", session, nil, []*backendv1.InputFile{{Name: "x"}})
	require.ErrorContains(t, err, `input file "x": is from where`)

	// A repository replaces what is there, and writes nowhere else.
	tree := func(headers ...*tar.Header) web {
		return web{"u": {Name: "repo", Tree: true, Body: repository(t, headers...)}}
	}
	path, err := stage(tree(
		&tar.Header{Typeflag: tar.TypeDir, Name: "repo-main/", Mode: 0o755}, &tar.Header{Typeflag: tar.TypeReg, Name: "repo-main/bin/run", Size: 3, Mode: 0o755},
		&tar.Header{Typeflag: tar.TypeSymlink, Name: "repo-main/link", Linkname: "bin/run"}, &tar.Header{Typeflag: tar.TypeSymlink, Name: "repo-main/out", Linkname: "../../../.."},
	), &backendv1.InputFile{Source: at("u")})
	require.NoError(t, err)
	require.Equal(t, "repo", path)
	info, err := os.Stat(filepath.Join(inputs, "repo", "link"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	require.NoFileExists(t, filepath.Join(inputs, "repo", "old"))
	_, err = os.Lstat(filepath.Join(inputs, "repo", "out"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = stage(tree(&tar.Header{Typeflag: tar.TypeReg, Name: "repo-main/../../x", Size: 1}), &backendv1.InputFile{Source: at("u")})
	require.ErrorContains(t, err, "leads out")
	entries, err := filepath.Glob(filepath.Join(inputs, ".poco-part-*"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

// TestInputsOfOneNameAreAllThere: no input file takes the place of another.
func TestInputsOfOneNameAreAllThere(t *testing.T) {
	s := open(t, nil)
	session := uuid.NewString()
	folders, err := s.Prepare("default", session, uuid.NewString())
	require.NoError(t, err)
	stage := func(files ...*backendv1.InputFile) ([]string, error) {
		w := web{}
		for _, f := range files {
			w[f.GetUrl()] = fetch.File{Body: content(f.GetUrl()), Name: "x.csv"}
		}
		staged, err := s.StageInputs(t.Context(), "default", session, w, files)
		var paths []string
		for i, f := range staged {
			got, err := os.ReadFile(filepath.Join(folders.Workspace, "inputs", f.GetPath()))
			require.NoError(t, err)
			require.Equal(t, files[i].GetUrl(), string(got), f.GetPath())
			paths = append(paths, f.GetPath())
		}
		return paths, err
	}
	paths, err := stage(
		&backendv1.InputFile{Source: at("1")}, &backendv1.InputFile{Source: at("2"), Name: "x.csv"}, &backendv1.InputFile{Source: at("3")},
		&backendv1.InputFile{Source: at("4"), Path: "x-2.csv"}, &backendv1.InputFile{Source: at("5"), Path: "sub/x.csv"},
	)
	require.NoError(t, err)
	require.Equal(t, []string{"x.csv", "x-3.csv", "x-4.csv", "x-2.csv", "sub/x.csv"}, paths)

	_, err = stage(&backendv1.InputFile{Source: at("1"), Path: "a/b"}, &backendv1.InputFile{Source: at("2"), Path: "a//b"})
	require.ErrorContains(t, err, `input file "2": path "a//b" is that of another input file`)
}
