package workspace

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sh runs a shell script as a person or the agent would, with git set up.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C.UTF-8",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main",
		"GIT_CONFIG_KEY_1=protocol.file.allow", "GIT_CONFIG_VALUE_1=always",
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", script, out)
	return strings.TrimSpace(string(out))
}

// fingerprint is all that is in a folder: names, kinds, modes and contents.
func fingerprint(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		seen[name] = info.Mode().String()
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			require.NoError(t, err)
			seen[name] += " " + target
		case e.Type().IsRegular():
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			seen[name] += fmt.Sprintf(" %x", sha256.Sum256(content))
			// Git itself notes there that somebody has read them.
			if !strings.Contains(name, "/sharedindex.") && !strings.HasSuffix(name, ".pack") {
				seen[name] += info.ModTime().String()
			}
		}
		return nil
	}))
	return seen
}

// The person's repository is theirs: whatever it is like, preparing a run and
// recording what it changes leaves it, and all around it, as it was. What the
// agent did shows as what a person would call its work.
func TestRepositoriesOfEveryKind(t *testing.T) {
	for name, c := range map[string]struct {
		// origin makes the repository to be cloned, in a folder of that name;
		// cloned changes the clone before the run.
		origin, cloned string
		// dirty is for a clone that is not clean to begin with.
		dirty bool
		// agent is what the run does, in the clone; changes are what shows of it.
		agent   string
		changes string
	}{
		"plain": {
			agent:   `echo more >>readme.txt; echo new >new.txt`,
			changes: "A new.txt +1 -0; M readme.txt +1 -0",
		},
		"ignored but tracked": {
			origin:  `mkdir dist; echo x >dist/x; echo y >dist/y; echo dist >.gitignore; git add -f . ; git commit -qm dist`,
			agent:   `echo more >>dist/x; rm dist/y; echo junk >dist/z`,
			changes: "D dist/y +0 -1; M dist/x +1 -0",
		},
		"ignored and added by the agent": {
			agent:   `mkdir build; echo a >build/a; echo b >build/b; git add -f build/a`,
			changes: "A build/a +1 -0",
		},
		"ignored anew": {
			agent:   `echo readme.txt >.gitignore; git rm -q --cached readme.txt; echo more >>readme.txt`,
			changes: "A .gitignore +1 -0; M readme.txt +1 -0",
		},
		"a rule taken back": {
			origin:  `printf '*.log\n!keep.log\n!build/\n' >.gitignore; git add .; git commit -qm rules`,
			agent:   `mkdir -p build; echo a >a.log; echo b >keep.log; echo c >build/c`,
			changes: "A build/c +1 -0; A keep.log +1 -0",
		},
		"rules of the clone": {
			cloned:  `echo secret.txt >>.git/info/exclude`,
			agent:   `echo a >secret.txt; echo b >b`,
			changes: "A b +1 -0",
		},
		"a submodule": {
			origin:  `git submodule --quiet add ../lib sub; git commit -qm sub`,
			agent:   `git submodule --quiet update --init; cd sub; echo more >>lib.txt; git commit -qam mine; echo n >n`,
			changes: "A sub/lib.txt +2 -0; A sub/n +1 -0",
		},
		"a submodule that is there": {
			origin:  `git submodule --quiet add ../lib sub; git commit -qm sub`,
			cloned:  `git submodule --quiet update --init`,
			agent:   `cd sub; echo more >>lib.txt; git commit -qam mine; echo n >n; cd ..; git add sub; git commit -qm both`,
			changes: "A sub/n +1 -0; M sub/lib.txt +1 -0",
		},
		"a submodule removed": {
			origin:  `git submodule --quiet add ../lib sub; git commit -qm sub`,
			cloned:  `git submodule --quiet update --init`,
			agent:   `git rm -qf sub`,
			changes: "D sub/lib.txt +0 -1; M .gitmodules +0 -3",
		},
		"sparse": {
			origin:  `mkdir a b; echo a >a/a; echo b >b/b; git add .; git commit -qm ab`,
			cloned:  `git sparse-checkout set a`,
			agent:   `echo more >>a/a`,
			changes: "M a/a +1 -0",
		},
		"a sparse index": {
			origin:  `mkdir a b; echo a >a/a; echo b >b/b; git add .; git commit -qm ab`,
			cloned:  `git sparse-checkout set --cone --sparse-index a`,
			agent:   `echo more >>a/a`,
			changes: "M a/a +1 -0",
		},
		"filters": {
			origin:  `echo '*.txt filter=lfs diff=lfs merge=lfs -text' >.gitattributes; git add .; git commit -qm lfs`,
			cloned:  `git config filter.lfs.clean cat; git config filter.lfs.smudge cat; git config filter.lfs.required true`,
			agent:   `echo changed >readme.txt`,
			changes: "M readme.txt +1 -1",
		},
		"line ends": {
			origin:  `printf '*.txt text eol=crlf\n' >.gitattributes; git add --renormalize .; git add .; git commit -qm crlf; rm readme.txt; git checkout -q readme.txt`,
			agent:   `printf 'hello\r\nmore\r\n' >readme.txt`,
			changes: "M readme.txt +1 -0",
		},
		"line ends converted": {
			cloned:  `git config core.autocrlf true; rm readme.txt; git checkout -q readme.txt`,
			agent:   `printf 'hello\r\nmore\r\n' >readme.txt`,
			changes: "M readme.txt +1 -0",
		},
		"an encoding": {
			origin:  `printf '*.txt working-tree-encoding=UTF-16LE\n' >.gitattributes; git add .gitattributes; git commit -qm utf16`,
			agent:   `echo new >new.md`,
			changes: "A new.md +1 -0",
		},
		"a worktree inside": {
			agent:   `git worktree add -q -b feature wt; cd wt; echo more >>readme.txt; echo n >n; git add n; git commit -qm n`,
			changes: "A wt/n +1 -0; A wt/readme.txt +2 -0",
		},
		"a worktree in an ignored folder": {
			cloned:  `git worktree add -q -b feature .claude/worktrees/feature`,
			dirty:   true,
			agent:   `echo junk >.claude/settings; cd .claude/worktrees/feature; echo more >>readme.txt`,
			changes: "M .claude/worktrees/feature/readme.txt +1 -0",
		},
		"a worktree beside": {
			agent:   `git worktree add -q -b feature ../wt; cd ../wt; echo n >n`,
			changes: "A ../wt/n +1 -0; A ../wt/readme.txt +1 -0",
		},
		"a nested repository": {
			agent:   `git init -q nested; cd nested; printf '*.o\n' >.gitignore; echo a >a.c; echo o >a.o; git add .; git commit -qm a; echo b >b.c`,
			changes: "A nested/.gitignore +1 -0; A nested/a.c +1 -0; A nested/b.c +1 -0",
		},
		"a nested repository that is there": {
			cloned:  `git init -q nested; cd nested; echo a >a.c; git add .; git commit -qm a`,
			dirty:   true,
			agent:   `cd nested; echo more >>a.c; git commit -qam more`,
			changes: "M nested/a.c +1 -0",
		},
		"an empty folder named .git": {
			agent:   `mkdir -p d/.git; echo x >d/x`,
			changes: "A d/x +1 -0",
		},
		"no commits": {
			origin:  `rm -rf .git; git init -q; rm readme.txt`,
			agent:   `echo a >a; git add a`,
			changes: "A a +1 -0",
		},
		"a detached HEAD": {
			cloned:  `git checkout -q --detach`,
			agent:   `echo a >a; git add a; git commit -qm a`,
			changes: "A a +1 -0",
		},
		"another branch": {
			origin:  `git checkout -qb other; echo o >o; git add o; git commit -qm o; git checkout -q main`,
			agent:   `git checkout -q other; echo a >a; git add a; git commit -qm a`,
			changes: "A a +1 -0; A o +1 -0",
		},
		"shallow": {
			origin:  `echo a >a; git add a; git commit -qm a`,
			cloned:  `cd ..; rm -rf project; git clone -q --depth 1 "file://$ORIGIN" project`,
			agent:   `echo a >>a`,
			changes: "M a +1 -0",
		},
		"names by SHA-256": {
			origin:  `rm -rf .git; git init -q --object-format=sha256; git add .; git commit -qm first`,
			agent:   `echo more >>readme.txt`,
			changes: "M readme.txt +1 -0",
		},
		"stashes, a split index and notes": {
			cloned:  `echo s >>readme.txt; git stash -q; git update-index --split-index; git notes add -m note`,
			agent:   `git stash pop -q`,
			changes: "M readme.txt +1 -0",
		},
		"a rebase in progress": {
			cloned: `git checkout -qb b; echo b >readme.txt; git commit -qam b; git checkout -q main; echo m >readme.txt; git commit -qam m
				git rebase b >/dev/null 2>&1 || true`,
			dirty:   true,
			agent:   `echo both >readme.txt; git add readme.txt; GIT_EDITOR=true git rebase --continue >/dev/null`,
			changes: "M readme.txt +1 -5",
		},
		"staged and unstaged work": {
			cloned:  `echo s >staged; git add staged; echo u >unstaged; echo w >>readme.txt`,
			dirty:   true,
			agent:   `git stash -qu; git stash pop -q; echo more >>unstaged`,
			changes: "M unstaged +1 -0",
		},
		"assumed unchanged": {
			cloned:  `git update-index --assume-unchanged readme.txt; echo w >>readme.txt`,
			agent:   `echo more >>readme.txt`,
			changes: "M readme.txt +1 -0",
		},
		"links and modes": {
			origin:  `ln -s readme.txt link; ln -s nowhere dead; ln -s / root; echo '#!/bin/sh' >run; git add .; git commit -qm links`,
			agent:   `chmod +x run; rm link; echo file >link; ln -sf elsewhere dead; mkdir real; ln -s real dir; echo x >dir/x`,
			changes: "A dir +1 -0; A real/x +1 -0; M dead +1 -1; M link +1 -1; M run +0 -0",
		},
		"odd names": {
			origin: `printf 1 >"$(printf 'tab\there')"; printf 2 >"$(printf 'new\nline')"; printf 3 >"$(printf 'latin\351')"; printf 4 >'"quoted"'; printf 5 >':(top)x'; printf 6 >'-f'
				git add -- . && git commit -qm odd`,
			agent: `for f in *[!t]; do case "$f" in readme.txt) ;; *) printf more >"./$f" ;; esac; done; mkdir .GIT; echo x >.GIT/x; echo y >'git~1'; echo '\' >'back\slash'`,
			changes: "A .GIT/x +1 -0; A back\\slash +1 -0; A git~1 +1 -0; M \"quoted\" +1 -1; M -f +1 -1; " +
				"M :(top)x +1 -1; M latin\uFFFD +1 -1; M new\nline +1 -1; M tab\there +1 -1",
		},
		"names that differ by case": {
			origin:  `echo a >Readme.txt; git add .; git commit -qm case`,
			agent:   `echo more >>Readme.txt; echo more >>README.txt`,
			changes: "A README.txt +1 -0; M Readme.txt +1 -0",
		},
		"renamed": {
			origin:  `seq 40 >old; git add .; git commit -qm old`,
			agent:   `git mv old new; echo more >>new; git commit -qam new`,
			changes: "R old → new +1 -0",
		},
		"the repository removed": {
			agent:   `echo more >>readme.txt; rm -rf .git`,
			changes: "M readme.txt +1 -0",
		},
		"begun anew": {
			agent:   `rm -rf .git; git init -q; git add .; git commit -qm all; echo more >>readme.txt`,
			changes: "M readme.txt +1 -0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			there := t.TempDir()
			sh(t, filepath.Join(there, "lib"), `git init -q; echo lib >lib.txt; git add .; git commit -qm lib`)
			origin := filepath.Join(there, "project")
			sh(t, origin, `git init -q; echo hello >readme.txt; git add .; git commit -qm first`)
			if c.origin != "" {
				sh(t, origin, c.origin)
			}
			root := t.TempDir()
			opts := Options{Root: root, State: stateOf(root), RunID: "r1", RepoURL: served(t, there) + "/project"}
			w := prepare(t, opts)
			require.Empty(t, w.Notices)
			// As the clone left it.
			require.Empty(t, sh(t, w.Dir, `git status --porcelain`))
			if name != "no commits" {
				require.Empty(t, sh(t, w.Dir, `git diff --submodule=diff origin/$(git branch --show-current)`))
				require.Equal(t, sh(t, origin, `git rev-parse HEAD`), sh(t, w.Dir, `git rev-parse HEAD`))
			}
			require.Empty(t, sh(t, w.Dir, `git tag; git stash list`))
			require.Empty(t, changes(t, w))
			if c.cloned != "" {
				sh(t, w.Dir, "ORIGIN='"+origin+"'\n"+c.cloned)
			}
			if !c.dirty && c.cloned != "" {
				require.Empty(t, sh(t, w.Dir, `git status --porcelain`))
			}
			before := fingerprint(t, root)

			opts.RunID = "r2"
			w = prepare(t, opts)
			require.Empty(t, w.Notices)
			require.Empty(t, changes(t, w))
			require.Equal(t, before, fingerprint(t, root), "nothing is written but the recorder's own")

			sh(t, w.Dir, c.agent)
			before = fingerprint(t, root)
			require.Equal(t, c.changes, summary(t, w))
			require.Equal(t, before, fingerprint(t, root))

			opts.RunID = "r3"
			w, err := Prepare(t.Context(), opts)
			require.NoError(t, err)
			require.Empty(t, changes(t, w), "the next run begins with what the one before left")
		})
	}
}

// summary is what a run changed, on one line.
func summary(t *testing.T, w *Workspace) string {
	t.Helper()
	changed, missing, err := w.Changes(t.Context())
	require.NoError(t, err)
	require.Empty(t, missing)
	var parts []string
	for _, f := range changed.GetFiles() {
		name := f.GetPath()
		if f.GetOldPath() != "" {
			name = f.GetOldPath() + " → " + name
		}
		parts = append(parts, fmt.Sprintf("%s %s +%d -%d", letter[f.GetStatus()], name, f.GetAdditions(), f.GetDeletions()))
		if f.GetAdditions()+f.GetDeletions() > 0 {
			require.Contains(t, f.GetDiff(), "@@", name)
		}
		require.False(t, f.GetDiffTruncated(), name)
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}
