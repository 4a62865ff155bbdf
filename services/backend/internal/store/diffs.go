package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// sharedDiffBytes is how long a diff must be to be stored apart from the reports
// that have it.
const sharedDiffBytes = 128

// Diffs are the diffs that are stored apart from events.
type Diffs struct {
	hashes [][]byte
	texts  []string
}

// share returns a report of changed files as it is stored: instead of each long
// diff stands a mark and its hash. The given payload stays as it is.
func (d *Diffs) share(payload *backendv1.EventPayload) *backendv1.EventPayload {
	payload = proto.CloneOf(payload)
	for _, f := range payload.GetFilesChanged().GetFiles() {
		if len(f.GetDiff()) < sharedDiffBytes {
			continue
		}
		hash := sha256.Sum256([]byte(f.GetDiff()))
		d.hashes = append(d.hashes, hash[:])
		d.texts = append(d.texts, f.GetDiff())
		f.Diff = mark + base64.RawStdEncoding.EncodeToString(hash[:])
	}
	return payload
}

// FillDiffs puts in the diffs that are stored apart from the reports of changed
// files that have them. Those of a session that was purged since the reports were
// read are NotFound.
func (s *Store) FillDiffs(ctx context.Context, sessionID string, files []*backendv1.FileChange) error {
	wanted := make(map[string][]*backendv1.FileChange)
	var hashes [][]byte
	for _, f := range files {
		encoded, ok := strings.CutPrefix(f.GetDiff(), mark)
		if !ok {
			continue
		}
		hash, err := base64.RawStdEncoding.DecodeString(encoded)
		if err != nil {
			return fmt.Errorf("the report of changed files refers to diff %q: %w", encoded, err)
		}
		if wanted[string(hash)] == nil {
			hashes = append(hashes, hash)
		}
		wanted[string(hash)] = append(wanted[string(hash)], f)
	}
	if len(hashes) == 0 {
		return nil
	}
	rows, err := s.Read().FileDiffList(ctx, sessionID, hashes)
	if err != nil {
		return fmt.Errorf("read diffs: %w", err)
	}
	for _, row := range rows {
		for _, f := range wanted[string(row.Hash)] {
			f.Diff = row.Diff
		}
		delete(wanted, string(row.Hash))
	}
	if len(wanted) > 0 {
		return rpcerror.NotFound("session", sessionID)
	}
	return nil
}
