package objectstore

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// DeletePrefix removes every object whose key starts with prefix, which must
// not be empty.
func (s *Store) DeletePrefix(ctx context.Context, prefix string) error {
	if prefix == "" {
		return errors.New("delete objects: the prefix is empty")
	}
	var keys []string
	err := s.List(ctx, prefix, func(o Object) error {
		if keys = append(keys, o.Key); len(keys) < deleteBatch {
			return nil
		}
		err := s.Delete(ctx, keys...)
		keys = keys[:0]
		return err
	})
	if err != nil {
		return err
	}
	return s.Delete(ctx, keys...)
}

// AbortUploads gives up uploads in parts that were begun before a time and never
// finished, of keys that start with prefix: their parts are in no list and take
// space all the same.
func (s *Store) AbortUploads(ctx context.Context, prefix string, before time.Time) error {
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: aws.String(s.bucket), Prefix: aws.String(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.wrap("list uploads of", prefix, err)
		}
		for _, u := range page.Uploads {
			if !aws.ToTime(u.Initiated).Before(before) {
				continue
			}
			_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(s.bucket), Key: u.Key, UploadId: u.UploadId})
			if err != nil && !isNotFound(err) {
				return s.wrap("abort upload of", aws.ToString(u.Key), err)
			}
		}
	}
	return nil
}
