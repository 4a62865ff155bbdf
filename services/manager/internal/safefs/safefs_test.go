package safefs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/manager/internal/safefs"
)

var limits = safefs.Limits{Entries: 100, Seen: 100, Bytes: 1 << 20, Depth: 8}

func all(string, fs.FileMode) bool { return true }

// skips collects what is left out.
type skips map[string]error

func (s skips) add(p safefs.Skipped) { s[p.Path] = p.Err }

func asIs(mode fs.FileMode) fs.FileMode { return mode }

// folder is an open folder with some content.
func folder(t *testing.T, files map[string]string) (string, *os.Root) {
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return dir, root
}

func TestPackAndUnpack(t *testing.T) {
	from, root := folder(t, map[string]string{"a.txt": "a", ".git/config": "c", "bin/run": "#!/bin/sh", "name\xff": "odd", "ünï/x": ""})
	modified := time.Date(2024, 2, 3, 4, 5, 6, 789_000_001, time.UTC)
	require.NoError(t, os.Chmod(filepath.Join(from, "bin/run"), 0o755))
	require.NoError(t, os.Chtimes(filepath.Join(from, "bin/run"), modified, modified))
	require.NoError(t, os.MkdirAll(filepath.Join(from, ".git/refs/empty"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(from, "bin"), 0o555))
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	for name, target := range map[string]string{
		"inside": "bin/run", ".git/up": "../a.txt", "dangling": "nothing", "loop": "loop",
		".git/absolute": outside, ".git/root": "/", ".git/far": "../../x",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(from, name)))
	}
	require.NoError(t, syscall.Mkfifo(filepath.Join(from, "pipe"), 0o600))

	var archive bytes.Buffer
	skipped := skips{}
	require.NoError(t, safefs.Pack(t.Context(), &archive, root, limits, all, skipped.add))
	require.Len(t, skipped, 1)
	require.ErrorIs(t, skipped["pipe"], safefs.ErrSpecial)
	require.NotContains(t, archive.String(), "secret")
	to, target := folder(t, nil)
	t.Cleanup(func() { // so that the folders can be removed
		require.NoError(t, errors.Join(os.Chmod(filepath.Join(from, "bin"), 0o755), os.Chmod(filepath.Join(to, "bin"), 0o755)))
	})
	require.NoError(t, safefs.Unpack(t.Context(), &archive, target, limits, asIs))

	var names []string
	require.NoError(t, filepath.WalkDir(to, func(name string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(to, name)
		names = append(names, rel)
		return err
	}))
	require.Equal(t, []string{
		".", ".git", ".git/absolute", ".git/config", ".git/far", ".git/refs", ".git/refs/empty", ".git/root", ".git/up", "a.txt",
		"bin", "bin/run", "dangling", "inside", "loop", "name\xff", "ünï", "ünï/x",
	}, names)
	info, err := os.Stat(filepath.Join(to, "inside"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o755), info.Mode().Perm())
	require.True(t, modified.Equal(info.ModTime()), info.ModTime())
	info, err = os.Stat(filepath.Join(to, "bin"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o555), info.Mode().Perm())
	b, err := os.ReadFile(filepath.Join(to, ".git/up"))
	require.NoError(t, err)
	require.Equal(t, "a", string(b))
}

func TestLimits(t *testing.T) {
	_, root := folder(t, map[string]string{"a/b/c": "123", "d": "4"})
	for name, c := range map[string]struct {
		tight safefs.Limits
		// skipped is what is left out.
		skipped string
	}{
		"entries": {safefs.Limits{Entries: 3, Seen: 100, Bytes: 100, Depth: 8}, "a/b/c"},
		"seen":    {safefs.Limits{Entries: 100, Seen: 2, Bytes: 100, Depth: 8}, "a"},
		"bytes":   {safefs.Limits{Entries: 100, Seen: 100, Bytes: 2, Depth: 8}, "a/b/c"},
		"depth":   {safefs.Limits{Entries: 100, Seen: 100, Bytes: 100, Depth: 1}, "a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			skipped := skips{}
			require.NoError(t, safefs.Pack(t.Context(), &archive, root, c.tight, all, skipped.add))
			require.Contains(t, skipped, c.skipped)
			_, target := folder(t, nil)
			require.NoError(t, safefs.Unpack(t.Context(), bytes.NewReader(archive.Bytes()), target, limits, asIs))
			_, err := target.Lstat("d")
			require.NoError(t, err, "one path does not cost the others")
			archive.Reset()
			require.NoError(t, safefs.Pack(t.Context(), &archive, root, limits, all, skipped.add))
			if name == "seen" {
				return // an archive has only what was wanted
			}
			_, target = folder(t, nil)
			require.ErrorIs(t, safefs.Unpack(t.Context(), &archive, target, c.tight, asIs), safefs.ErrTooLarge)
		})
	}
}

func TestUnpackRefusesWhatPackDoesNotWrite(t *testing.T) {
	file := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	link := func(name, target string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
	}
	for name, headers := range map[string][]*tar.Header{
		"traversal":           {file("../x")},
		"absolute":            {file("/tmp/x")},
		"not clean":           {{Typeflag: tar.TypeDir, Name: "a/"}, file("a/../x")},
		"itself":              {{Typeflag: tar.TypeDir, Name: "./"}},
		"absolute link":       {link("l", "/etc")},
		"link out":            {link("l", "../..")},
		"through a link out":  {{Typeflag: tar.TypeDir, Name: "d/"}, link("d/l", "/tmp"), file("d/l/x")},
		"through a link":      {{Typeflag: tar.TypeDir, Name: "d/"}, link("l", "d"), file("l/x")},
		"below a file":        {file("a"), file("a/b")},
		"without its folder":  {file("a/b")},
		"twice":               {file("a"), file("a")},
		"a link, then a file": {link("a", "b"), file("a")},
		"hard link":           {file("a"), {Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}},
		"device":              {{Typeflag: tar.TypeChar, Name: "c"}},
		"too large":           {{Typeflag: tar.TypeReg, Name: "big", Size: 2 << 20, Mode: 0o644}},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			z, err := zstd.NewWriter(&archive)
			require.NoError(t, err)
			w := tar.NewWriter(z)
			for _, h := range headers {
				require.NoError(t, w.WriteHeader(h))
				_, err := w.Write(make([]byte, h.Size))
				require.NoError(t, err)
			}
			require.NoError(t, w.Close())
			require.NoError(t, z.Close())
			_, target := folder(t, nil)
			require.Error(t, safefs.Unpack(t.Context(), &archive, target, limits, asIs))
		})
	}
	_, target := folder(t, nil)
	require.Error(t, safefs.Unpack(t.Context(), bytes.NewReader([]byte("no archive")), target, limits, asIs))
}
