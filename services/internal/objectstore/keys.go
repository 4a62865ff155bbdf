package objectstore

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/poco-ai/poco/services/internal/config"
)

// keys are read for each request that is signed, since they may be rotated.
func keys(access, secret config.Secret) aws.CredentialsProviderFunc {
	return func(context.Context) (aws.Credentials, error) {
		for {
			c := aws.Credentials{AccessKeyID: access.Reveal(), SecretAccessKey: secret.Reveal(), Source: "poco"}
			// Both are rotated at once: an access key that stayed belongs to the
			// secret key that was read after it.
			if c.AccessKeyID == access.Reveal() {
				return c, nil
			}
		}
	}
}

// signer signs each request from scratch. The SDK's own keeps, for a day, what
// it has derived from a secret key, by the access key alone: a secret key that
// is rotated under the same access key would not be used.
type signer struct{}

// SignHTTP implements s3.HTTPSignerV4.
func (signer) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, options ...func(*v4.SignerOptions)) error {
	return newSigner().SignHTTP(ctx, c, r, payloadHash, service, region, at, options...)
}

// PresignHTTP implements s3.HTTPPresignerV4.
func (signer) PresignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, options ...func(*v4.SignerOptions)) (string, http.Header, error) {
	return newSigner().PresignHTTP(ctx, c, r, payloadHash, service, region, at, options...)
}

func newSigner() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
}
