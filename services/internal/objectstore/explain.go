package objectstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/poco-ai/poco/services/internal/egress"
)

// ask returns why the service refused a request whose answer has no body, as
// those to HEAD requests: the same is asked in another way.
func (s *Store) ask(ctx context.Context, err error) error {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() >= http.StatusInternalServerError {
		return err
	}
	_, told := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), MaxKeys: aws.Int32(1)})
	return cmp.Or(told, err)
}

// explain says which setting has to be corrected when the service refuses what
// it is shown, or is not trusted.
func (s *Store) explain(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return egress.ExplainUntrusted(err)
	}
	switch api.ErrorCode() {
	case "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "InvalidRegion", "IncorrectRegion",
		"IllegalLocationConstraintException", "InvalidLocationConstraint", "PermanentRedirect":
		return fmt.Errorf("%w: S3_REGION is %q: set it to the region that the service at S3_ENDPOINT has", err, s.region)
	case "InvalidAccessKeyId", "XAdminUserNotFound": // the second is versitygw's
		return fmt.Errorf("%w: the service does not know S3_ACCESS_KEY", err)
	case "SignatureDoesNotMatch":
		return fmt.Errorf("%w: S3_SECRET_KEY does not fit S3_ACCESS_KEY, or a proxy changes what is sent%s", err, s.pathHint())
	case "RequestTimeTooSkewed":
		return fmt.Errorf("%w: the clocks of this machine and of the service differ too much", err)
	case "AccessDenied":
		return fmt.Errorf("%w: S3_ACCESS_KEY may not use the bucket %q%s", err, s.bucket, s.pathHint())
	default:
		return err
	}
}

// pathHint is what may be wrong with an endpoint that has a path. Some services
// have one; where it is a mistake, it mostly is the bucket.
func (s *Store) pathHint() string {
	u, err := url.Parse(s.endpoint)
	if err != nil || strings.Trim(u.Path, "/") == "" {
		return ""
	}
	return fmt.Sprintf(" (S3_ENDPOINT has the path %s: unless the service asks for it, leave it out, and name the bucket in S3_BUCKET)", u.Path)
}
