package embedded

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user a server runs as; nil means this process's own.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount returns the user for a server that refuses to run as root: nil
// unless this process is root.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("a Postgres server cannot run as root, and there is neither a user postgres nor a user nobody: create one, or run Poco as an ordinary user")
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// own gives a file or a whole folder to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(a.uid), int(a.gid))
	})
}

// checkPassable makes sure that the account can reach a folder through its
// parents.
func (a *account) checkPassable(path string) error {
	if a == nil {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		mode := info.Mode().Perm()
		passable := mode&0o001 != 0 ||
			ok && stat.Uid == a.uid && mode&0o100 != 0 ||
			ok && stat.Gid == a.gid && mode&0o010 != 0
		if !passable {
			return fmt.Errorf("the user %s, as which Postgres has to run, cannot pass the folder %s: choose a data folder elsewhere, for example under /var/lib", a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// CheckDataDir tells whether Postgres, run by this process, could keep its data
// in a folder; the error says what to do.
func CheckDataDir(dir string) error {
	acct, err := serverAccount()
	if err != nil {
		return err
	}
	return acct.checkPassable(dir)
}
