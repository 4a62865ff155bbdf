package egress

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Container returns what a container needs to find its way out: Environment
// with the files and folders of authorities as copies in dir, which the
// container sees as target; copied is false when there are none. Proxies on
// this machine's loopback are looked for at gateway, where a container finds
// the machine. A file that is not there is left out, as programs do; without dir
// all are.
func Container(dir, target, gateway string, direct ...string) (env map[string]string, copied bool, err error) {
	return container(lookup, dir, target, gateway, direct...)
}

func container(get func(string) string, dir, target, gateway string, direct ...string) (map[string]string, bool, error) {
	files, copied := map[string]string{}, false
	for _, name := range Authorities {
		files[name] = ""
		from := get(name)
		if from == "" || dir == "" {
			continue
		}
		err := copyFile(from, filepath.Join(dir, name+".pem"))
		switch {
		case err == nil:
			files[name], copied = path.Join(target, name+".pem"), true
		case !errors.Is(err, fs.ErrNotExist):
			return nil, false, err
		}
	}
	for _, name := range AuthorityFolders {
		files[name] = ""
		for from := range strings.SplitSeq(get(name), ":") {
			if from == "" || dir == "" {
				continue
			}
			err := copyFolder(from, filepath.Join(dir, name))
			switch {
			case err == nil:
				files[name], copied = path.Join(target, name), true
			case !errors.Is(err, fs.ErrNotExist):
				return nil, false, err
			}
		}
	}
	env := environment(func(name string) string {
		if file, ok := files[name]; ok {
			return file
		}
		value := get(name)
		for _, kind := range proxies {
			if strings.EqualFold(kind, name) {
				return fromContainer(value, gateway)
			}
		}
		return value
	}, direct...)
	return env, copied, nil
}

// fromContainer is a proxy's URL as a container reaches it.
func fromContainer(proxy, gateway string) string {
	u, err := parseProxy(proxy)
	if err != nil || proxy == "" || !IsLoopback(u.Hostname()) {
		return proxy
	}
	port := u.Port()
	if u.Host = gateway; port != "" {
		u.Host += ":" + port
	}
	return u.String()
}

// copyFile copies what is not there yet, so that it costs a container's start
// nothing but the first time.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if old, err := os.Stat(to); err == nil && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()) {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	// In one step: another container may be reading it.
	part := to + ".new"
	if err := os.WriteFile(part, content, 0o644); err != nil {
		return err
	}
	if err := os.Chtimes(part, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Rename(part, to)
}

// copyFolder copies the files of a folder, and what its links lead to: their
// names are hashes by which authorities are found.
func copyFolder(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(from, e.Name())
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := copyFile(name, filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
