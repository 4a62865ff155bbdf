package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// prepareCluster makes sure that the data folder holds a cluster that the
// found programs can run.
func prepareCluster(ctx context.Context, opts PostgresOptions, bin string, acct *account) error {
	if err := os.MkdirAll(filepath.Dir(opts.DataDir), 0o755); err != nil {
		return err
	}
	if err := acct.checkPassable(opts.DataDir); err != nil {
		return err
	}
	have, err := clusterVersion(opts.DataDir)
	switch {
	case err == nil:
		return checkVersion(ctx, have, bin)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if entries, err := os.ReadDir(opts.DataDir); err == nil && len(entries) > 0 {
		return errors.New("the folder holds something else")
	}
	return createCluster(ctx, opts, bin, acct)
}

// createCluster runs initdb next to the data folder and renames the result, so
// that an interrupted run leaves no half-made cluster.
func createCluster(ctx context.Context, opts PostgresOptions, bin string, acct *account) (err error) {
	opts.Progress.tell("creating a Postgres database cluster in %s", opts.DataDir)
	building, passwordFile := opts.DataDir+".new", opts.DataDir+".pw"
	if err := os.RemoveAll(building); err != nil {
		return err
	}
	if err := os.Mkdir(building, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(building))
		}
	}()
	if err := os.WriteFile(passwordFile, []byte(opts.Password), 0o600); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(passwordFile)) }()
	if err := errors.Join(acct.own(building), acct.own(passwordFile)); err != nil {
		return err
	}
	args := []string{
		"-D", building, "-U", opts.User, "--pwfile=" + passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
	}
	if opts.Disposable {
		// Trust saves the key derivation at each connect.
		args = append(args, "--auth=trust", "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), args...)
	cmd.Dir = building
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: acct.credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	// An empty folder may be there already; rename replaces only such a one.
	return os.Rename(building, opts.DataDir)
}

// clusterVersion returns the major version that made a cluster.
func clusterVersion(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// serverVersion returns the major version of installed programs.
func serverVersion(ctx context.Context, bin string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return "", err
	}
	// "postgres (PostgreSQL) 15.10 (Debian 15.10-0+deb12u1)"
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return "", fmt.Errorf("cannot read the version in %q", out)
	}
	major, _, _ := strings.Cut(fields[2], ".")
	return major, nil
}

func checkVersion(ctx context.Context, have, bin string) error {
	got, err := serverVersion(ctx, bin)
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", bin, err)
	}
	if got != have {
		return fmt.Errorf("it was made by Postgres %s, and %s is Postgres %s: install Postgres %s, or choose another data folder", have, bin, got, have)
	}
	return nil
}
