package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/klauspost/compress/zip"

	"github.com/poco-ai/poco/services/manager/internal/safefs"
)

// archiveTop is the folder that everything in the archive is in.
const archiveTop = "workspace"

// uploadArchive streams a zip of the listed files and links into one object, and
// notes in the list under which names they are in it.
func (e *Exporter) uploadArchive(ctx context.Context, root *os.Root, key string, files []manifestFile, links []link, lacks *missing) error {
	err := e.stream(ctx, key, "application/zip", func(ctx context.Context, w io.Writer) error {
		return writeZip(ctx, w, root, files, links, lacks)
	})
	if err != nil {
		return fmt.Errorf("upload the archive: %w", err)
	}
	return nil
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

func writeZip(ctx context.Context, w io.Writer, root *os.Root, files []manifestFile, links []link, lacks *missing) error {
	z := zip.NewWriter(w)
	names := entryNames{}
	for i := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := &files[i]
		entry := names.of(f.name())
		if f.ArchivePath = ""; entry != archiveTop+"/"+f.name() {
			f.ArchivePath = display(entry)
		}
		if err := zipFile(z, root, f.name(), entry, lacks); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := zipLink(z, l, names.of(l.path)); err != nil {
			return err
		}
	}
	return z.Close()
}

// errNotInArchive: a file could be uploaded, and not be read once more.
var errNotInArchive = errors.New("is not in the archive")

func zipFile(z *zip.Writer, root *os.Root, name, entry string, lacks *missing) error {
	in, info, err := safefs.OpenRegular(root, name)
	if err != nil {
		lacks.add(safefs.Skipped{Path: name, Err: fmt.Errorf("%w: %s", errNotInArchive, why(err))})
		return nil
	}
	if in == nil {
		return nil
	}
	defer in.Close()
	header := &zip.FileHeader{Name: entry, Method: zip.Deflate, Modified: info.ModTime()}
	header.SetMode(info.Mode().Perm())
	out, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	content := safefs.Exactly(in, info.Size())
	if _, err := io.Copy(out, content); err != nil {
		return fmt.Errorf("archive %s: %w", quoted(name), err)
	}
	if err := content.Err(); err != nil {
		lacks.add(safefs.Skipped{Path: name, Err: fmt.Errorf("%w as it is: %s", errNotInArchive, why(err))})
	}
	return nil
}

// zipLink writes a symbolic link the way Unix programs do: its mode says what it
// is, its content is where it leads.
func zipLink(z *zip.Writer, l link, entry string) error {
	header := &zip.FileHeader{Name: entry, Method: zip.Store, Modified: l.modTime}
	header.SetMode(fs.ModeSymlink | 0o777)
	out, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, l.target)
	return err
}
