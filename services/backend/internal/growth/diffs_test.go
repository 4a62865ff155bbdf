package growth_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
)

// A run reports all its changes again whenever one is added. The database keeps
// each diff once, and every report is read as it was made.
func TestDiffsAreStoredOnce(t *testing.T) {
	const reports, diffBytes = 20, 16 << 10
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	id := c.GetRun().GetSessionId()
	before := tableBytes(t, b)
	var files []*backendv1.FileChange
	var sent []*backendv1.FilesChanged
	for i := range reports {
		random := make([]byte, diffBytes/2)
		_, err := rand.Read(random)
		require.NoError(t, err)
		files = append(files, &backendv1.FileChange{Path: fmt.Sprintf("%02d", i), Diff: hex.EncodeToString(random), Additions: 1})
		if i%3 == 0 {
			files = append(files, &backendv1.FileChange{Path: fmt.Sprintf("copy %02d", i), Diff: hex.EncodeToString(random)})
		}
		e := backendtest.Event(int64(i+1), &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_FilesChanged{
			FilesChanged: &backendv1.FilesChanged{Files: files, TotalFiles: int64(len(files)) + 1000, Branch: "main"},
		}})
		sent = append(sent, proto.CloneOf(e.GetPayload().GetFilesChanged()))
		b.Append(t, c, e)
		require.True(t, proto.Equal(sent[i], e.GetPayload().GetFilesChanged()), "what is appended stays as it is")
	}
	require.Less(t, tableBytes(t, b)-before, int64(2*reports*diffBytes), "of %d reports", reports)

	b.Append(t, c, backendtest.Finished(reports+1, backendv1.RunStatus_RUN_STATUS_COMPLETED))
	var seen []*backendv1.FilesChanged
	err := b.Sessions.Watch(t.Context(), backendtest.User, &backendv1.WatchSessionRequest{SessionId: id}, func(r *backendv1.WatchSessionResponse) error {
		if changed := r.GetEvent().GetPayload().GetFilesChanged(); changed != nil {
			seen = append(seen, changed)
		}
		if r.GetCaughtUp() != nil {
			return errSeen
		}
		return nil
	})
	require.ErrorIs(t, err, errSeen)
	require.Len(t, seen, reports)
	for i := range seen {
		require.True(t, proto.Equal(sent[i], seen[i]), "report %d is read as it was made", i)
	}

	request := &backendv1.ListFileChangesRequest{RunId: c.GetRun().GetId(), PageSize: 7}
	var listed []*backendv1.FileChange
	for {
		got, err := b.Runs.ListFileChanges(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, len(files)+1000, got.GetTotalFiles())
		listed = append(listed, got.GetFiles()...)
		if request.PageToken = got.GetNextPageToken(); request.GetPageToken() == "" {
			break
		}
	}
	require.True(t, proto.Equal(&backendv1.FilesChanged{Files: files}, &backendv1.FilesChanged{Files: listed}))
}
