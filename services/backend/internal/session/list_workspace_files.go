package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/pagesize"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// maxManifestBytes bounds what is read of a manifest.
const maxManifestBytes = 64 << 20

// manifest is what an executor manager writes with each export.
type manifest struct {
	Files   []manifestFile    `json:"files"`
	Links   []manifestFile    `json:"links"`
	Missing []manifestMissing `json:"missing"`
}

type manifestMissing struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

type manifestFile struct {
	Path         string    `json:"path"`
	PathBytes    []byte    `json:"path_bytes"`
	Target       string    `json:"target"`
	Key          string    `json:"key"`
	Size         int64     `json:"size"`
	MimeType     string    `json:"mimeType"`
	LastModified time.Time `json:"last_modified"`
}

// ListWorkspaceFiles lists the files of a session's last export, by path.
func (s *Service) ListWorkspaceFiles(ctx context.Context, req *backendv1.ListWorkspaceFilesRequest) (*backendv1.ListWorkspaceFilesResponse, error) {
	row, err := s.store.OwnedSession(ctx, auth.User(ctx), req.GetSessionId())
	if err != nil {
		return nil, err
	}
	list := "files/" + row.ID
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Key{})
	if err != nil {
		return nil, err
	}
	resp := &backendv1.ListWorkspaceFilesResponse{}
	if row.ManifestKey == "" {
		return resp, nil
	}
	files, missing, err := s.readManifest(ctx, row.ManifestKey, objectstore.WorkspacePrefix(row.UserID, row.ID))
	if err != nil {
		return nil, err
	}
	if req.GetPageToken() == "" {
		for _, m := range missing {
			resp.Missing = append(resp.Missing, &backendv1.MissingPath{Path: m.Path, Reason: m.Reason})
		}
	}
	start, found := slices.BinarySearchFunc(files, key.Path, func(f manifestFile, path string) int { return strings.Compare(f.Path, path) })
	if found {
		start++
	}
	files = files[start:]
	var more bool
	resp.Files, more, err = page.Fill(files, pagesize.Files.Of(req.GetPageSize()), func(f *manifestFile) (*backendv1.WorkspaceFile, error) {
		return s.file(ctx, f)
	})
	if err == nil && more {
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Path: files[len(resp.GetFiles())-1].Path})
	}
	return resp, err
}

func (s *Service) file(ctx context.Context, f *manifestFile) (*backendv1.WorkspaceFile, error) {
	if f.Target != "" {
		return &backendv1.WorkspaceFile{Path: f.Path, LinkTarget: f.Target}, nil
	}
	url, _, err := s.objects.PresignGet(ctx, f.Key, path.Base(f.Path), f.MimeType, false)
	if err != nil {
		return nil, fmt.Errorf("sign the link of %s: %w", f.Key, err)
	}
	file := &backendv1.WorkspaceFile{Path: f.Path, Size: f.Size, ContentType: f.MimeType, Url: url, PathBytes: f.PathBytes}
	if !f.LastModified.IsZero() {
		file.ModifiedAt = timestamppb.New(f.LastModified)
	}
	return file, nil
}

// readManifest returns files and links by path, and what is missing. Entries
// that lead out of the workspace, or to another session's objects, are left out.
func (s *Service) readManifest(ctx context.Context, key, prefix string) ([]manifestFile, []manifestMissing, error) {
	body, _, err := s.objects.Get(ctx, key)
	if errors.Is(err, objectstore.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, rpcerror.Unavailable(backendv1.ErrorReason_ERROR_REASON_OBJECT_STORE_UNAVAILABLE, "the object store does not answer; try again").WithCause(err)
	}
	defer body.Close()
	var m manifest
	if err := json.NewDecoder(io.LimitReader(body, maxManifestBytes)).Decode(&m); err != nil {
		return nil, nil, fmt.Errorf("read manifest %s: %w", key, err)
	}
	files := slices.DeleteFunc(m.Files, func(f manifestFile) bool {
		return !localPath(f.Path) || !strings.HasPrefix(f.Key, prefix)
	})
	files = append(files, slices.DeleteFunc(m.Links, func(f manifestFile) bool { return !localPath(f.Path) || f.Target == "" })...)
	slices.SortFunc(files, func(a, b manifestFile) int { return strings.Compare(a.Path, b.Path) })
	return files, m.Missing, nil
}

func localPath(name string) bool {
	if name == "" {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
