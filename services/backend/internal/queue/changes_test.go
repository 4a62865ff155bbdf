package queue_test

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/page"
	"github.com/poco-ai/poco/services/internal/auth"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

func filesChanged(seq int64, files ...*backendv1.FileChange) *executorv1.RunEvent {
	changed := &backendv1.FilesChanged{Files: files, Branch: "main", TotalAdditions: int64(len(files))}
	return backendtest.Event(seq, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_FilesChanged{FilesChanged: changed}})
}

// The diffs of each run can be had by its id, whatever the session did since,
// and where they are left out it is said.
func TestDiffsOfAnyRun(t *testing.T) {
	b := backendtest.New(t)
	first := b.Start(t, "w1")
	session := first.GetRun().GetSessionId()
	none, err := b.Runs.ListFileChanges(t.Context(), &backendv1.ListFileChangesRequest{RunId: first.GetRun().GetId()})
	require.NoError(t, err)
	require.Empty(t, none.GetFiles())
	b.Append(t, first, filesChanged(1, &backendv1.FileChange{Path: "early", Diff: "@@ early"}))
	b.Append(t, first, filesChanged(2,
		&backendv1.FileChange{Path: "a", Diff: "@@ a"}, &backendv1.FileChange{Path: "b", OldPath: "old", Diff: "@@ b"},
		&backendv1.FileChange{Path: "bin", Binary: true}, &backendv1.FileChange{Path: "large", DiffTruncated: true}))

	shown := b.Session(t, session)
	truncated := map[string]bool{}
	for _, f := range shown.GetState().GetFiles().GetFiles() {
		require.Empty(t, f.GetDiff())
		truncated[f.GetPath()] = f.GetDiffTruncated()
	}
	require.Equal(t, map[string]bool{"a": true, "b": true, "bin": false, "large": true}, truncated, "what is left out is said to be")

	b.Append(t, first, backendtest.Finished(3, completed))
	b.Enqueue(t, session, "more")
	second := b.Claim(t, "w1")
	_, err = b.Queue.Start(t.Context(), second.GetRun().GetId(), second.GetFencingToken())
	require.NoError(t, err)
	b.Append(t, second, filesChanged(1, &backendv1.FileChange{Path: "c", Diff: "@@ c"}))

	for run, want := range map[string]string{
		first.GetRun().GetId():  "a=@@ a b=@@ b bin= large=",
		second.GetRun().GetId(): "c=@@ c",
	} {
		got, err := b.Runs.ListFileChanges(t.Context(), &backendv1.ListFileChangesRequest{RunId: run})
		require.NoError(t, err)
		var files []string
		for _, f := range got.GetFiles() {
			files = append(files, f.GetPath()+"="+f.GetDiff())
		}
		require.Equal(t, want, strings.Join(files, " "))
		require.Equal(t, "main", got.GetBranch())
	}
	for _, path := range []string{"b", "old"} {
		one, err := b.Runs.ListFileChanges(t.Context(), &backendv1.ListFileChangesRequest{RunId: first.GetRun().GetId(), Path: path})
		require.NoError(t, err)
		require.Len(t, one.GetFiles(), 1)
		require.Equal(t, "@@ b", one.GetFiles()[0].GetDiff())
	}
	_, err = b.Runs.ListFileChanges(t.Context(), &backendv1.ListFileChangesRequest{RunId: first.GetRun().GetId(), Path: "nowhere"})
	require.Equal(t, connect.CodeNotFound, rpcerror.CodeOf(err))
	_, err = b.Runs.ListFileChanges(auth.WithUser(t.Context(), "someone"), &backendv1.ListFileChangesRequest{RunId: first.GetRun().GetId()})
	require.Equal(t, connect.CodeNotFound, rpcerror.CodeOf(err), "another user's")
}

// Pages are of one report, also when the run goes on between two of them.
func TestPagesOfDiffs(t *testing.T) {
	b := backendtest.New(t)
	c := b.Start(t, "w1")
	var files []*backendv1.FileChange
	for i := range 12 {
		files = append(files, &backendv1.FileChange{Path: fmt.Sprintf("%02d", i), Diff: strings.Repeat("+x\n", 100_000)})
	}
	b.Append(t, c, filesChanged(1, files...))
	request := &backendv1.ListFileChangesRequest{RunId: c.GetRun().GetId()}
	var paths []string
	for pages := int64(1); ; pages++ {
		got, err := b.Runs.ListFileChanges(t.Context(), request)
		require.NoError(t, err)
		require.LessOrEqual(t, proto.Size(got), page.MaxBytes+1000)
		for _, f := range got.GetFiles() {
			paths = append(paths, f.GetPath())
		}
		b.Append(t, c, filesChanged(pages+1, &backendv1.FileChange{Path: "other"}))
		if request.PageToken = got.GetNextPageToken(); request.GetPageToken() == "" {
			break
		}
	}
	require.Len(t, paths, 12)
	require.Equal(t, "00 01 02 03 04 05 06 07 08 09 10 11", strings.Join(paths, " "))
}
