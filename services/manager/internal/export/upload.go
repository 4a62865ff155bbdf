package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zip"
	"golang.org/x/sync/errgroup"

	"github.com/poco-ai/poco/services/internal/logging"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/manager/internal/tree"
)

const (
	// parallelUploads of one export.
	parallelUploads = 8
	// archiveTop is the folder that everything in the archive is in.
	archiveTop         = "workspace"
	defaultContentType = "application/octet-stream"
	// toolResultsDir is where the executor leaves tool results that were too
	// large for an event, by run, beside the workspace.
	toolResultsDir = "tool_results"
	// maxToolResultBytes bounds what one run's tool results take.
	maxToolResultBytes = 1 << 30
)

// Keys are the object keys of a session's export.
type Keys struct {
	Files, Manifest, Archive, ToolResults string
}

// KeysOf returns the keys of a session.
func KeysOf(userID, sessionID string) Keys {
	prefix := objectstore.WorkspacePrefix(userID, sessionID)
	return Keys{
		Files: prefix + "files/", Manifest: prefix + "manifest.json", Archive: prefix + "archive.zip",
		ToolResults: prefix + "tool_results/",
	}
}

// Result is a finished export.
type Result struct {
	Keys  Keys
	Files int64
	Bytes int64
}

// exportOnce copies a workspace to object storage: changed files, the archive,
// and last the manifest.
func (e *Exporter) exportOnce(ctx context.Context, job Job) (Result, error) {
	keys := KeysOf(job.UserID, job.SessionID)
	root, err := e.opts.Workspaces.OpenWorkspace(job.UserID, job.SessionID)
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	files, err := walk(ctx, root, e.opts.IgnoreDotFiles)
	if err != nil {
		return Result{}, wrap("list the workspace", err)
	}
	old, err := e.previous(ctx, keys.Manifest)
	if err != nil {
		return Result{}, err
	}
	gone := goneFrom(old, files)
	// A file where a folder was, or the other way round: some stores keep keys
	// as paths and cannot hold both.
	if err := e.opts.Objects.Delete(ctx, inTheWay(gone, files)...); err != nil {
		return Result{}, fmt.Errorf("remove what is in the way: %w", err)
	}
	listed, err := e.uploadFiles(ctx, root, keys, files, old)
	if err != nil {
		return Result{}, err
	}
	if err := e.uploadToolResults(ctx, job, keys); err != nil {
		return Result{}, err
	}
	if err := e.uploadArchive(ctx, root, keys.Archive, listed); err != nil {
		return Result{}, err
	}
	result := Result{Keys: keys, Files: int64(len(listed))}
	for _, f := range listed {
		result.Bytes += f.Size
	}
	body, err := json.Marshal(manifest{Version: manifestVersion, GeneratedAt: time.Now().UTC(), Files: listed})
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

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// uploadFiles uploads what changed and returns the manifest's list, in order
// and without the files that vanished.
func (e *Exporter) uploadFiles(ctx context.Context, root *os.Root, keys Keys, files []file, old map[string]manifestFile) ([]manifestFile, error) {
	out := make([]manifestFile, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelUploads)
	for i, f := range files {
		if prev, ok := old[f.path]; ok && unchanged(f, prev) {
			out[i] = prev
			continue
		}
		g.Go(func() error {
			m, err := e.uploadFile(ctx, root, keys.Files+f.path, f.path)
			out[i] = m
			return err
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

// uploadFile uploads one file as it is now. The zero manifestFile says that it
// vanished, or is no longer a regular file.
func (e *Exporter) uploadFile(ctx context.Context, root *os.Root, key, name string) (manifestFile, error) {
	in, before, err := tree.OpenRegular(root, name)
	if err != nil || in == nil {
		return manifestFile{}, err
	}
	defer in.Close()
	size := before.Size()
	// Exactly the size announced: a file that grows is cut, one that shrinks is
	// filled up; either is marked and comes again with the next export.
	if err := e.opts.Objects.Put(ctx, key, contentType(name), tree.Exactly(in, size), size); err != nil {
		return manifestFile{}, fmt.Errorf("upload %s: %w", name, err)
	}
	after, err := in.Stat()
	volatile := err != nil || after.Size() != size || !after.ModTime().Equal(before.ModTime())
	return manifestFile{
		Path: name, Key: key, Size: size, MimeType: contentType(name), Status: "uploaded",
		LastModified: before.ModTime().UTC(), Volatile: volatile,
	}, nil
}

func contentType(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return defaultContentType
}

// uploadArchive streams a zip of the listed files into one object.
func (e *Exporter) uploadArchive(ctx context.Context, root *os.Root, key string, files []manifestFile) error {
	err := e.stream(ctx, key, "application/zip", func(ctx context.Context, w io.Writer) error {
		return writeZip(ctx, w, root, files)
	})
	return wrap("upload the archive", err)
}

// stream uploads what write writes, as it is written. When that fails, nothing
// is stored.
func (e *Exporter) stream(ctx context.Context, key, contentType string, write func(context.Context, io.Writer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { w.CloseWithError(write(ctx, w)) })
	err := e.opts.Objects.Put(ctx, key, contentType, r, -1)
	// Lets go of a writer that nobody reads any more.
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	return err
}

func writeZip(ctx context.Context, w io.Writer, root *os.Root, files []manifestFile) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := zipFile(z, root, f); err != nil {
			return err
		}
	}
	return z.Close()
}

// entryName is a file's name in the archive. A backslash is a part of a name
// here and a separator elsewhere, where it could lead out of the folder.
func entryName(name string) string {
	return archiveTop + "/" + strings.ReplaceAll(name, `\`, "_")
}

func zipFile(z *zip.Writer, root *os.Root, f manifestFile) error {
	in, info, err := tree.OpenRegular(root, f.Path)
	if err != nil || in == nil {
		return err
	}
	defer in.Close()
	header := &zip.FileHeader{Name: entryName(f.Path), Method: zip.Deflate, Modified: info.ModTime()}
	header.SetMode(info.Mode().Perm())
	out, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(in, 0, info.Size()))
	return wrap("archive "+f.Path, err)
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
	entries, err := tree.List(root, dir, maxFiles)
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
		if err != nil || !info.Mode().IsRegular() || !exportable(entry.Name()) {
			continue
		}
		if total += info.Size(); total > maxToolResultBytes {
			e.opts.Logger.WarnContext(ctx, "tool results are left out: there are too many bytes")
			break
		}
		g.Go(func() error {
			_, err := e.uploadFile(ctx, root, keys.ToolResults+job.RunID+"/"+entry.Name(), dir+"/"+entry.Name())
			return err
		})
	}
	return g.Wait()
}
