package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"os"
	"path"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/manager/internal/safefs"
)

const (
	// parallelUploads of one export.
	parallelUploads    = 8
	defaultContentType = "application/octet-stream"
	// toolResultsDir is where the executor leaves tool results that were too
	// large for an event, by run, beside the workspace.
	toolResultsDir = "tool_results"
	// maxToolResultBytes bounds what one run's tool results take.
	maxToolResultBytes = 1 << 30
)

// Keys are the object keys of a session's export.
type Keys struct {
	Files, OddNames, Manifest, Archive, ToolResults string
}

// KeysOf returns the keys of a session.
func KeysOf(userID, sessionID string) Keys {
	prefix := objectstore.WorkspacePrefix(userID, sessionID)
	return Keys{
		Files: prefix + "files/", OddNames: prefix + oddNames, Manifest: prefix + "manifest.json",
		Archive: prefix + "archive.zip", ToolResults: prefix + "tool_results/",
	}
}

// Result is a finished export.
type Result struct {
	Keys    Keys
	Files   int64
	Bytes   int64
	Missing *missing
}

// workspaceError is a failure that the object storage has no part in.
type workspaceError struct{ err error }

func (e *workspaceError) Error() string { return "the workspace cannot be read: " + e.err.Error() }

func (e *workspaceError) Unwrap() error { return e.err }

// exportOnce copies a workspace to object storage: changed files, the archive,
// and last the manifest. What cannot be copied is listed in it, and costs
// nothing else.
func (e *Exporter) exportOnce(ctx context.Context, job Job) (Result, error) {
	keys := KeysOf(job.UserID, job.SessionID)
	root, err := e.opts.Workspaces.OpenWorkspace(job.UserID, job.SessionID)
	if err != nil {
		return Result{}, &workspaceError{err}
	}
	defer root.Close()
	lacks := &missing{}
	all, err := walk(ctx, root, e.opts.IgnoreDotFiles, lacks)
	if err != nil {
		return Result{}, &workspaceError{err}
	}
	old, err := e.previous(ctx, keys.Manifest)
	if err != nil {
		return Result{}, err
	}
	gone := goneFrom(old, all.files)
	// A file where a folder was, or the other way round: some stores keep keys
	// as paths and cannot hold both.
	if err := e.opts.Objects.Delete(ctx, inTheWay(gone, all.files)...); err != nil {
		return Result{}, fmt.Errorf("remove what is in the way: %w", err)
	}
	listed, err := e.uploadFiles(ctx, root, keys, all.files, old, lacks)
	if err != nil {
		return Result{}, err
	}
	if err := e.uploadToolResults(ctx, job, keys); err != nil {
		return Result{}, err
	}
	if err := e.uploadArchive(ctx, root, keys.Archive, listed, all.links, lacks); err != nil {
		return Result{}, err
	}
	result := Result{Keys: keys, Files: int64(len(listed)), Missing: lacks}
	for _, f := range listed {
		result.Bytes += f.Size
	}
	body, err := json.Marshal(newManifest(listed, all.links, lacks))
	if err != nil {
		return Result{}, err
	}
	err = e.opts.Objects.Put(ctx, keys.Manifest, "application/json", bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return Result{}, fmt.Errorf("upload the manifest: %w", err)
	}
	if err := e.opts.Objects.Delete(ctx, keysOf(gone)...); err != nil {
		e.opts.Logger.WarnContext(ctx, "objects of deleted files stay behind", logging.KeyError, err)
	}
	return result, nil
}

// maxRefused is how many files the object storage may refuse before it is taken
// for what is wrong, and not the files.
const maxRefused = 100

// uploadFiles uploads what changed and returns the manifest's list, in order
// and without the files that vanished or are missing.
func (e *Exporter) uploadFiles(ctx context.Context, root *os.Root, keys Keys, files []file, old map[string]manifestFile, lacks *missing) ([]manifestFile, error) {
	out := make([]manifestFile, len(files))
	var refused atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelUploads)
	for i, f := range files {
		if prev, ok := old[f.path]; ok && unchanged(f, prev) && readable(root, f.path) {
			out[i] = prev
			continue
		}
		g.Go(func() error {
			m, err := e.uploadFile(ctx, root, fileKey(keys, f.path), f.path)
			out[i] = m
			var unread *unreadError
			switch {
			case err == nil:
				return nil
			case errors.As(err, &unread):
				err = unread.err
			case ctx.Err() == nil && objectstore.Refused(err) && refused.Add(1) <= maxRefused:
				err = fmt.Errorf("the object storage refuses it: %w", err)
			default:
				return err
			}
			lacks.add(safefs.Skipped{Path: f.path, Err: err})
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	kept := out[:0]
	for _, m := range out {
		if m.Path != "" {
			kept = append(kept, m)
		}
	}
	return kept, nil
}

// readable tells whether a file can be read: one that was uploaded earlier and
// cannot be read any more would be in the list and not in the archive.
func readable(root *os.Root, name string) bool {
	in, _, err := safefs.OpenRegular(root, name)
	if err != nil || in == nil {
		return false
	}
	return in.Close() == nil
}

// unreadError is a file that cannot be read.
type unreadError struct{ err error }

func (e *unreadError) Error() string { return e.err.Error() }

// uploadFile uploads one file as it is now. The zero manifestFile says that it
// vanished.
func (e *Exporter) uploadFile(ctx context.Context, root *os.Root, key, name string) (manifestFile, error) {
	in, before, err := safefs.OpenRegular(root, name)
	if err != nil {
		return manifestFile{}, &unreadError{err}
	}
	if in == nil {
		return manifestFile{}, nil
	}
	defer in.Close()
	size := before.Size()
	// Exactly the size announced: a file that grows is cut, one that shrinks is
	// filled up; either is marked and comes again with the next export.
	content := safefs.Exactly(in, size)
	if err := e.opts.Objects.Put(ctx, key, contentType(name), content, size); err != nil {
		return manifestFile{}, fmt.Errorf("upload %s: %w", quoted(name), err)
	}
	if err := content.Err(); err != nil {
		return manifestFile{}, errors.Join(&unreadError{err}, e.opts.Objects.Delete(ctx, key))
	}
	after, err := in.Stat()
	volatile := err != nil || after.Size() != size || !after.ModTime().Equal(before.ModTime())
	m := manifestFile{
		Key: key, Size: size, MimeType: contentType(name), Status: "uploaded", LastModified: before.ModTime().UTC(), Volatile: volatile,
	}
	m.setName(name)
	return m, nil
}

func contentType(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return defaultContentType
}

// uploadToolResults uploads what the run's executor cut out of its events. The
// folder is in reach of the agent: whatever else it has made of it is left
// alone, and is no reason to fail the export of the workspace.
func (e *Exporter) uploadToolResults(ctx context.Context, job Job, keys Keys) error {
	root, err := e.opts.Workspaces.OpenState(job.UserID, job.SessionID)
	if err != nil {
		return err
	}
	defer root.Close()
	dir := toolResultsDir + "/" + job.RunID
	entries, err := safefs.List(root, dir, maxFiles)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			e.opts.Logger.WarnContext(ctx, "tool results are left out", logging.KeyError, err)
		}
		return nil
	}
	var total int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelUploads)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || !storable(entry.Name()) {
			continue
		}
		if total += info.Size(); total > maxToolResultBytes {
			e.opts.Logger.WarnContext(ctx, "tool results are left out: there are too many bytes")
			break
		}
		g.Go(func() error {
			_, err := e.uploadFile(ctx, root, keys.ToolResults+job.RunID+"/"+entry.Name(), dir+"/"+entry.Name())
			var unread *unreadError
			if errors.As(err, &unread) {
				e.opts.Logger.WarnContext(ctx, "a tool result is left out", logging.KeyError, err)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}
