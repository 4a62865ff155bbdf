package command

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/poco-ai/poco/services/internal/config"
)

// checkFolders adds what a start would say of the folders that services write
// to: those of this machine, so only where the settings are for it.
func checkFolders(check config.Check) {
	for i := range check.Services {
		service := &check.Services[i]
		folder := func(env, fix string) {
			field := config.FieldOf(service.Report, env)
			if field.GetValue() == "" {
				return
			}
			if err := mayMake(field.GetValue()); err != nil {
				service.Problems = append(service.Problems, config.Problem{
					Env: env, Message: "cannot be written to by this user: " + err.Error(), Fix: fix,
				})
			}
		}
		if config.FieldOf(service.Report, "LOG_TO_FILE").GetValue() == "true" {
			folder("LOG_DIR", "make the folder writable, name another one, or turn LOG_TO_FILE off")
		}
		if service.Service == "manager" {
			folder("WORKSPACE_ROOT", "make the folder writable, or name another one")
		}
	}
}

// mayMake tells whether files can be made in a folder, which need not be there
// yet, without making anything.
func mayMake(folder string) error {
	path, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	for {
		// With a slash at its end, what is no folder is refused.
		err := unix.Access(path+string(filepath.Separator), unix.W_OK|unix.X_OK)
		if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
			path = parent
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "write to", Path: path, Err: err}
		}
		return nil
	}
}
