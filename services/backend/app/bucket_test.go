package app_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/poco-ai/poco/db/dbtest"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// Nobody has to make the bucket by hand.
func TestTheBucketIsMade(t *testing.T) {
	s3 := testkit.S3(t)
	wanted := proto.CloneOf(s3.Config)
	wanted.Bucket += "-new"
	objects, err := objectstore.New(t.Context(), wanted, s3.AccessKey, s3.SecretKey)
	require.NoError(t, err)
	t.Cleanup(objects.Close)
	require.Error(t, objects.Check(t.Context()))
	launch(t, dbtest.URL(t, testkit.Postgres(t)), "S3_BUCKET="+wanted.GetBucket()).wait(t)
	require.Eventually(t, func() bool { return objects.Check(t.Context()) == nil }, 30*time.Second, 20*time.Millisecond)
}
