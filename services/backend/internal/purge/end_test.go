package purge_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
	queuev1 "github.com/poco-ai/poco/gen/go/poco/queue/v1"
	"github.com/poco-ai/poco/services/backend/internal/backendtest"
	"github.com/poco-ai/poco/services/backend/internal/purge"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// bucket is a bucket of the real server, and a client that leaves uploads there
// as a program does that is killed.
type bucket struct {
	*objectstore.Store
	client *s3.Client
	name   string
}

func newBucket(t *testing.T) bucket {
	server := testkit.S3(t)
	store, err := objectstore.New(t.Context(), server.Config, server.AccessKey, server.SecretKey)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return bucket{store, s3.New(s3.Options{
		HTTPClient:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		BaseEndpoint: aws.String(server.Config.GetEndpoint()), Region: server.Config.GetRegion(), UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: server.AccessKey.Reveal(), SecretAccessKey: server.SecretKey.Reveal()}, nil
		}),
	}), server.Config.GetBucket()}
}

// leave begins an upload in parts that nobody finishes.
func (b bucket) leave(t *testing.T, key string) {
	t.Helper()
	begun, err := b.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(b.name), Key: aws.String(key)})
	require.NoError(t, err)
	_, err = b.client.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: aws.String(b.name), Key: aws.String(key), UploadId: begun.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x"),
	})
	require.NoError(t, err)
}

// unfinished are the keys of uploads that nobody has finished.
func (b bucket) unfinished(t *testing.T) []string {
	t.Helper()
	listed, err := b.client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(b.name)})
	require.NoError(t, err)
	var keys []string
	for _, u := range listed.Uploads {
		keys = append(keys, aws.ToString(u.Key))
	}
	return keys
}

// lived leaves a session that did all that leaves something: runs that ended,
// with events, diffs, calls of tools, questions, usage, uploads, exports and
// snapshots, and uploads that were broken off.
func lived(t *testing.T, b *backendtest.Backend, objects bucket, attachment string) *queuev1.ClaimedRun {
	t.Helper()
	_, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "do it", Config: &backendv1.TaskConfig{
		InputFiles: []*backendv1.InputFile{{Name: "a", Source: &backendv1.InputFile_Attachment{Attachment: attachment}}},
	}})
	require.NoError(t, err)
	require.NoError(t, objects.Put(t.Context(), attachment, "", strings.NewReader("x"), 1))
	c := b.Claim(t, "w1")
	_, err = b.Queue.Start(t.Context(), c.GetRun().GetId(), c.GetFencingToken())
	require.NoError(t, err)
	fill(t, b, c)
	b.Append(t, c, backendtest.Event(4, &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_FilesChanged{FilesChanged: &backendv1.FilesChanged{
		Files: []*backendv1.FileChange{{Path: "a", Diff: strings.Repeat("+", 1000)}},
	}}}), backendtest.Finished(5, backendv1.RunStatus_RUN_STATUS_COMPLETED))
	id := c.GetRun().GetSessionId()
	keys := put(t, objects.Store, id)
	_, err = b.Queue.ReportExport(t.Context(), &queuev1.ReportExportRequest{
		WorkerId: "w1", SessionId: id, RunId: c.GetRun().GetId(), Status: backendv1.ExportStatus_EXPORT_STATUS_READY, SnapshotKey: keys[5],
	})
	require.NoError(t, err)
	objects.leave(t, objectstore.WorkspacePrefix(backendtest.User, id)+"archive.zip")
	objects.leave(t, objectstore.SnapshotPrefix(backendtest.User, id)+"r-3.tar.zst")
	return c
}

// killed is an object store whose purger is killed at a certain call, before or
// after the call did what it is for.
type killed struct {
	purge.Objects
	left  int
	after bool
	kill  context.CancelFunc
}

func (k *killed) call(ctx context.Context, do func() error) error {
	if k.left--; k.left == 0 && !k.after {
		k.kill()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := do()
	if k.left == 0 {
		k.kill()
	}
	return err
}

func (k *killed) Delete(ctx context.Context, keys ...string) error {
	return k.call(ctx, func() error { return k.Objects.Delete(ctx, keys...) })
}

func (k *killed) DeletePrefix(ctx context.Context, prefix string) error {
	return k.call(ctx, func() error { return k.Objects.DeletePrefix(ctx, prefix) })
}

func (k *killed) AbortUploads(ctx context.Context, prefix string, before time.Time) error {
	return k.call(ctx, func() error { return k.Objects.AbortUploads(ctx, prefix, before) })
}

// When a session's time is over, neither the database nor the object store has
// anything of it, whenever the purger was killed before.
func TestWhatIsTooOldLeavesNothing(t *testing.T) {
	objects := newBucket(t)
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			b := backendtest.New(t)
			c := lived(t, b, objects, objectstore.AttachmentPrefix(backendtest.User)+"1/long name/ü.txt")
			id := c.GetRun().GetSessionId()
			require.Len(t, objects.unfinished(t), 2)
			_, err := b.Pool.Exec(t.Context(), `UPDATE sessions SET idle_since = idle_since - interval '30 days'`)
			require.NoError(t, err)

			ctx, kill := context.WithCancel(t.Context())
			k := &killed{Objects: objects, left: at, after: after, kill: kill}
			err = purger(b, k, 29*24*time.Hour).Once(ctx)
			kill()
			if k.left <= 0 {
				require.Error(t, err)
				due(t, b)
				require.NoError(t, purger(b, objects, 29*24*time.Hour).Once(t.Context()))
			} else {
				require.NoError(t, err)
			}
			require.Empty(t, stored(t, objects.Store), "killed at call %d", at)
			require.Empty(t, objects.unfinished(t), "killed at call %d", at)
			require.Equal(t, map[string]int{"deleted_sessions.session_id": 1, "run_commands.session_id": 1}, rows(t, b, id, c.GetRun().GetId()))
			if k.left > 0 {
				require.Greater(t, at, 4, "it makes calls to be killed at")
				break
			}
		}
	}
}

// An upload goes with the last session that has it, and an upload that was broken
// off when nobody can be at it any more.
func TestAttachmentsGoWithTheirLastSession(t *testing.T) {
	b, objects := backendtest.New(t), newBucket(t)
	p := purger(b, objects, 0)
	prefix := objectstore.AttachmentPrefix(backendtest.User)
	shared, own, foreign := prefix+"1/shared", prefix+"2/own", prefix+"3/other"
	enqueue := func(keys ...string) string {
		var files []*backendv1.InputFile
		for _, key := range keys {
			files = append(files, &backendv1.InputFile{Name: "a", Source: &backendv1.InputFile_Attachment{Attachment: key}})
		}
		files = append(files, &backendv1.InputFile{Name: "b", Source: &backendv1.InputFile_Url{Url: "https://example.com/b"}})
		e, err := b.Tasks.EnqueueTask(t.Context(), &backendv1.EnqueueTaskRequest{Prompt: "x", Config: &backendv1.TaskConfig{InputFiles: files}})
		require.NoError(t, err)
		return e.GetSessionId()
	}
	for _, key := range []string{shared, own, foreign} {
		require.NoError(t, objects.Put(t.Context(), key, "", strings.NewReader("x"), 1))
	}
	first := enqueue(shared, own, prefix+"missing", prefix+strings.Repeat("n", 300))
	second, third := enqueue(shared), enqueue(shared)

	b.Delete(t, first)
	require.NoError(t, p.Once(t.Context()))
	require.ElementsMatch(t, []string{shared, foreign}, stored(t, objects.Store))
	for _, id := range []string{second, third} { // neither keeps it for the other
		b.Delete(t, id)
	}
	require.NoError(t, p.Once(t.Context()))
	require.ElementsMatch(t, []string{foreign}, stored(t, objects.Store), "it is no session's")

	objects.leave(t, prefix+"4/broken off")
	require.NoError(t, p.Orphans(t.Context(), time.Now().Add(-time.Hour)))
	require.Len(t, objects.unfinished(t), 1, "it is young")
	require.NoError(t, p.Orphans(t.Context(), time.Now().Add(time.Hour)))
	require.Empty(t, objects.unfinished(t))
}
