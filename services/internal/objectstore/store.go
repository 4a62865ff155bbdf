// Package objectstore keeps objects in an S3-compatible service.
package objectstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/egress"
)

// ErrNotFound means that there is no such object.
var ErrNotFound = errors.New("object not found")

const (
	// maxKeyLength is S3's own limit, in bytes.
	maxKeyLength = 1024
	// deleteBatch is the most keys S3 deletes in one call.
	deleteBatch = 1000
	// partSize of multipart uploads; S3's least is 5 MiB.
	partSize = 8 << 20
	// uploadConcurrency is how many parts of one upload are sent at a time.
	uploadConcurrency = 4
	// abortTimeout is for removing the parts of a failed upload, after the
	// caller's context has ended.
	abortTimeout = 10 * time.Second
)

// Store is one bucket. It is safe for concurrent use.
type Store struct {
	client    *s3.Client
	presigner *s3.PresignClient
	transfers *transfermanager.Client
	transport *http.Transport
	endpoint  string
	bucket    string
	region    string
	expires   time.Duration
}

// Object describes a stored object.
type Object struct {
	// Key is its full key.
	Key string
	// Size is in bytes.
	Size int64
	// ContentType is as stored; lists leave it empty.
	ContentType string
	// ModTime is when it was stored.
	ModTime time.Time
}

// New returns the store that cfg describes. It makes no call; see Check.
func New(_ context.Context, cfg *configv1.ObjectStoreConfig, access, secret config.Secret) (*Store, error) {
	if cfg.GetEndpoint() == "" || cfg.GetBucket() == "" {
		return nil, errors.New("the object store needs an endpoint and a bucket")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = egress.Proxy
	transport.DialContext = (&net.Dialer{Timeout: cfg.GetConnectTimeout().AsDuration(), KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = cfg.GetConnectTimeout().AsDuration()
	// Not a timeout of the whole answer: a large object may take its time.
	transport.ResponseHeaderTimeout = cfg.GetReadTimeout().AsDuration()
	transport.MaxIdleConnsPerHost = 32
	options := s3.Options{
		BaseEndpoint:     aws.String(cfg.GetEndpoint()),
		Region:           cfg.GetRegion(),
		UsePathStyle:     cfg.GetForcePathStyle(),
		Credentials:      keys(access, secret),
		HTTPSignerV4:     signer{},
		HTTPClient:       &http.Client{Transport: transport},
		RetryMaxAttempts: int(cfg.GetMaxAttempts()),
		// Many S3-compatible services do not know the newer checksums.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	client := s3.New(options)
	public := options.Copy()
	public.BaseEndpoint = aws.String(cmp.Or(cfg.GetPublicEndpoint(), cfg.GetEndpoint()))
	return &Store{
		client:    client,
		endpoint:  cfg.GetEndpoint(),
		presigner: s3.NewPresignClient(s3.New(public), func(o *s3.PresignOptions) { o.Presigner = signer{} }),
		transfers: transfermanager.New(client, func(o *transfermanager.Options) {
			o.PartSizeBytes = partSize
			o.MultipartUploadThreshold = partSize
			o.Concurrency = uploadConcurrency
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.FailTimeout = abortTimeout
		}),
		transport: transport,
		bucket:    cfg.GetBucket(),
		region:    cfg.GetRegion(),
		expires:   cfg.GetPresignExpires().AsDuration(),
	}, nil
}

// Bucket is the bucket's name.
func (s *Store) Bucket() string { return s.bucket }

// Close releases idle connections.
func (s *Store) Close() { s.transport.CloseIdleConnections() }

// Put stores body under key, in parts when it is large; nothing is stored when
// reading it fails. The size may be -1 when it is not known.
func (s *Store) Put(ctx context.Context, key, contentType string, body io.Reader, size int64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	input := &transfermanager.UploadObjectInput{
		Bucket: aws.String(s.bucket), Key: aws.String(key), Body: body, ContentType: aws.String(contentType),
	}
	if size >= 0 {
		input.ContentLength = aws.Int64(size)
	}
	if contentType == "" {
		input.ContentType = aws.String("application/octet-stream")
	}
	if _, err := s.transfers.UploadObject(ctx, input); err != nil {
		return s.wrap("put", key, err)
	}
	return nil
}

// Get opens an object; the caller closes it. A missing one is ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, Object, error) {
	if err := checkKey(key); err != nil {
		return nil, Object{}, err
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(key)})
	if err != nil {
		return nil, Object{}, s.wrap("get", key, err)
	}
	return out.Body, Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), ContentType: aws.ToString(out.ContentType), ModTime: aws.ToTime(out.LastModified),
	}, nil
}

// Stat describes an object. A missing one is ErrNotFound.
func (s *Store) Stat(ctx context.Context, key string) (Object, error) {
	if err := checkKey(key); err != nil {
		return Object{}, err
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(key)})
	if err != nil {
		return Object{}, s.wrap("stat", key, err)
	}
	return Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), ContentType: aws.ToString(out.ContentType), ModTime: aws.ToTime(out.LastModified),
	}, nil
}

// List calls yield for every object whose key starts with prefix, in key order,
// until yield returns an error, which it returns.
func (s *Store) List(ctx context.Context, prefix string, yield func(Object) error) error {
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), Prefix: aws.String(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.wrap("list", prefix, err)
		}
		for _, o := range page.Contents {
			object := Object{Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}
			if err := yield(object); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete removes objects; missing ones are not an error.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for start := 0; start < len(keys); start += deleteBatch {
		batch := keys[start:min(start+deleteBatch, len(keys))]
		objects := make([]types.ObjectIdentifier, 0, len(batch))
		for _, key := range batch {
			if err := checkKey(key); err != nil {
				return err
			}
			objects = append(objects, types.ObjectIdentifier{Key: aws.String(key)})
		}
		out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: aws.String(s.bucket), Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
		})
		if err != nil {
			return s.wrap("delete", batch[0], err)
		}
		for _, failed := range out.Errors {
			// Under a key that the service does not take, there is nothing either.
			if code := aws.ToString(failed.Code); code != "NoSuchKey" && code != "KeyTooLongError" {
				return fmt.Errorf("delete object %s: %s: %s", aws.ToString(failed.Key), code, aws.ToString(failed.Message))
			}
		}
	}
	return nil
}

// Check makes sure that the bucket can be reached. The error names the setting
// that has to be corrected where that is known.
func (s *Store) Check(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(s.bucket)})
	if err == nil {
		return nil
	}
	if err = s.ask(ctx, err); isNotFound(err) {
		return fmt.Errorf("the bucket %q does not exist: create it, or set S3_BUCKET to one that does%s", s.bucket, s.pathHint())
	}
	return fmt.Errorf("reach the bucket %q: %w", s.bucket, s.explain(err))
}

// EnsureBucket creates the bucket when it is missing.
func (s *Store) EnsureBucket(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(s.bucket)})
	if err == nil {
		return nil
	}
	if err = s.ask(ctx, err); !isNotFound(err) {
		return fmt.Errorf("reach the bucket %q: %w", s.bucket, s.explain(err))
	}
	input := &s3.CreateBucketInput{Bucket: aws.String(s.bucket)}
	if s.region != "us-east-1" { // which must not be named, of all regions
		input.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(s.region)}
	}
	_, err = s.client.CreateBucket(ctx, input)
	var owned *types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &owned) {
		return fmt.Errorf("create the bucket %q: %w", s.bucket, s.explain(err))
	}
	return nil
}

func (s *Store) wrap(verb, key string, err error) error {
	if isNotFound(err) && verb != "put" {
		return fmt.Errorf("%s object %s: %w", verb, key, ErrNotFound)
	}
	return fmt.Errorf("%s object %s: %w", verb, key, s.explain(err))
}

// Refused tells whether the service answered and did not take the request, for
// example because of its key; not that it is away or busy.
func Refused(err error) bool {
	var answer *smithyhttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() != http.StatusServiceUnavailable && answer.HTTPStatusCode() != http.StatusTooManyRequests
}

func isNotFound(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "NoSuchKey", "NotFound", "NoSuchBucket", "NoSuchUpload", "404":
		return true
	default:
		return false
	}
}

// ValidKey tells whether there can be an object under a key.
func ValidKey(key string) bool {
	return len(key) <= maxKeyLength && fs.ValidPath(key) && key != "." && !strings.ContainsRune(key, 0)
}

// checkKey refuses keys that clients or file-based services would rewrite.
func checkKey(key string) error {
	if len(key) > maxKeyLength {
		return fmt.Errorf("the object key is longer than %d bytes", maxKeyLength)
	}
	if !ValidKey(key) {
		return fmt.Errorf("%q is not an object key", key)
	}
	return nil
}
