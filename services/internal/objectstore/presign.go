package objectstore

import (
	"context"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// PresignGet returns a link that works without credentials until it expires.
// The browser is told the file name, and to show it (inline) or save it.
func (s *Store) PresignGet(ctx context.Context, key, filename, contentType string, inline bool) (string, time.Time, error) {
	if err := checkKey(key); err != nil {
		return "", time.Time{}, err
	}
	input := &s3.GetObjectInput{
		Bucket:                     aws.String(s.bucket),
		Key:                        aws.String(key),
		ResponseContentDisposition: aws.String(disposition(filename, inline)),
	}
	if contentType != "" {
		input.ResponseContentType = aws.String(contentType)
	}
	// Taken before signing, so that the link never outlives it.
	expires := time.Now().Add(s.expires)
	req, err := s.presigner.PresignGetObject(ctx, input, s3.WithPresignExpires(s.expires))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign a link to object %s: %w", key, err)
	}
	return req.URL, expires, nil
}

// disposition builds a Content-Disposition header (RFC 6266); a name that is
// not plain ASCII is encoded.
func disposition(filename string, inline bool) string {
	kind := "attachment"
	if inline {
		kind = "inline"
	}
	filename = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '/' || r == '\\' {
			return '_'
		}
		return r
	}, filename)
	if filename == "" {
		return kind
	}
	header := mime.FormatMediaType(kind, map[string]string{"filename": filename})
	if header == "" {
		return kind
	}
	return header
}
