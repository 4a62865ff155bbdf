package recorder

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zlib"
)

// objects is a folder of Git objects, each in a file of its own. They are
// written here and not by git: a file that cannot be kept then costs only
// itself, and no lock is ever left behind.
type objects struct{ dir string }

func (o objects) path(name id) string {
	text := name.String()
	return filepath.Join(o.dir, text[:2], text[2:])
}

// put keeps an object, and returns its name also when it cannot be kept.
func (o objects) put(kind string, content []byte) (id, error) {
	name := sum(kind, content)
	path := o.path(name)
	if _, err := os.Lstat(path); err == nil {
		return name, nil
	}
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err != nil {
		return name, err
	}
	_, err = fmt.Fprintf(z, "%s %d\x00", kind, len(content))
	if err == nil {
		_, err = z.Write(content)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return name, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return name, err
	}
	return name, replaceFile(path, packed.Bytes())
}

// replaceFile puts a file in place of whatever is there, whole or not at all.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "tmp-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// prune removes the objects that are not wanted any more.
func (o objects) prune(wanted map[id]bool) error {
	return filepath.WalkDir(o.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ignoreMissing(err)
		}
		raw, err := hex.DecodeString(filepath.Base(filepath.Dir(path)) + e.Name())
		if err == nil && len(raw) == len(id{}) && wanted[id(raw)] {
			return nil
		}
		return ignoreMissing(os.Remove(path))
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// leaf is a file in a tree of folders to be written.
type leaf struct {
	path string
	mode uint32
	name id
}

// putTree keeps the folders that the leaves are in and returns the topmost one.
func (o objects) putTree(leaves []leaf) (id, error) {
	type child struct {
		key  string // what Git sorts by: a folder's name ends in a slash
		mode uint32
		id   id
	}
	var children []child
	folders := map[string][]leaf{}
	for _, l := range leaves {
		if first, rest, deeper := strings.Cut(l.path, "/"); deeper {
			folders[first] = append(folders[first], leaf{path: rest, mode: l.mode, name: l.name})
			continue
		}
		children = append(children, child{key: l.path, mode: l.mode, id: l.name})
	}
	for name, below := range folders {
		tree, err := o.putTree(below)
		if err != nil {
			return id{}, err
		}
		children = append(children, child{key: name + "/", mode: modeFolder, id: tree})
	}
	slices.SortFunc(children, func(a, b child) int { return cmp.Compare(a.key, b.key) })
	var content bytes.Buffer
	for _, c := range children {
		fmt.Fprintf(&content, "%o %s\x00", c.mode, strings.TrimSuffix(c.key, "/"))
		content.Write(c.id[:])
	}
	return o.put("tree", content.Bytes())
}
