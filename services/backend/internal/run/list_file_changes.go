package run

import (
	"context"
	"fmt"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/backend/internal/store"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/pagesize"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// ListFileChanges lists the files that a run of a user has changed, with their diffs, as
// the run reported them last. All pages of a list are of one report, also when
// the run goes on meanwhile.
func (s *Service) ListFileChanges(ctx context.Context, req *backendv1.ListFileChangesRequest) (*backendv1.ListFileChangesResponse, error) {
	row, err := s.owned(ctx, auth.User(ctx), req.GetRunId())
	if err != nil {
		return nil, err
	}
	list := "changes/" + row.ID + "/" + req.GetPath()
	key, err := s.tokens.Decode(list, req.GetPageToken(), page.Key{Seq: row.FilesSeq})
	if err != nil {
		return nil, err
	}
	changed, err := s.changes(ctx, row.SessionID, key.Seq)
	if err != nil {
		return nil, err
	}
	files := changed.GetFiles()
	if path := req.GetPath(); path != "" {
		if files = only(files, path); files == nil {
			return nil, rpcerror.NotFound("changed file", path)
		}
	}
	files = files[min(key.Index, len(files)):]
	if err := s.store.FillDiffs(ctx, row.SessionID, files); err != nil {
		return nil, err
	}
	resp := &backendv1.ListFileChangesResponse{
		TotalAdditions: changed.GetTotalAdditions(), TotalDeletions: changed.GetTotalDeletions(),
		Branch: changed.GetBranch(), RemoteUrl: changed.GetRemoteUrl(), Truncated: changed.GetTruncated(),
		TotalFiles: changed.GetTotalFiles(),
	}
	var more bool
	resp.Files, more, err = page.Fill(files, pagesize.Long.Of(req.GetPageSize()),
		func(f **backendv1.FileChange) (*backendv1.FileChange, error) { return *f, nil })
	if err == nil && more {
		resp.NextPageToken, err = s.tokens.Encode(list, page.Key{Seq: key.Seq, Index: key.Index + len(resp.GetFiles())})
	}
	return resp, err
}

// changes reads the report with a number; there is none under 0.
func (s *Service) changes(ctx context.Context, sessionID string, seq int64) (*backendv1.FilesChanged, error) {
	if seq == 0 {
		return &backendv1.FilesChanged{}, nil
	}
	raw, err := s.store.Read().RunEventPayload(ctx, sessionID, seq)
	if store.IsNotFound(err) { // purged since the row was read
		return nil, rpcerror.NotFound("session", sessionID)
	}
	if err != nil {
		return nil, fmt.Errorf("read changed files: %w", err)
	}
	payload, err := store.DecodePayload(raw)
	if err != nil {
		return nil, fmt.Errorf("decode event %d of session %s: %w", seq, sessionID, err)
	}
	return payload.GetFilesChanged(), nil
}

// only picks one file, by its path or, when it was renamed, the one before.
func only(files []*backendv1.FileChange, path string) []*backendv1.FileChange {
	for _, f := range files {
		if f.GetPath() == path || f.GetOldPath() == path {
			return []*backendv1.FileChange{f}
		}
	}
	return nil
}
