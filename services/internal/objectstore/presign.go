package objectstore

import (
	"context"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// savedType is the type of everything that a browser saves instead of showing.
const savedType = "application/octet-stream"

// shown are the kinds of content that a browser only shows. Agents write files,
// and links lead to the object store's own address: whatever a browser would run
// there (HTML, SVG, XML, PDF, scripts, and what nobody knows) is saved instead.
var shown = map[string][]string{
	"image": {"png", "jpeg", "gif", "webp", "avif", "bmp", "x-icon", "vnd.microsoft.icon", "tiff"},
	"audio": {"mpeg", "ogg", "wav", "x-wav", "webm", "aac", "flac", "mp4"},
	"video": {"mp4", "webm", "ogg", "mpeg", "quicktime"},
}

// safeType returns the type under which content may be opened by a link, and
// whether it may be shown at all. Text of every kind is shown as plain text, which
// browsers do not take for anything else.
func safeType(contentType string) (safe string, inline bool) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return savedType, false
	}
	kind, sub, _ := strings.Cut(media, "/")
	switch {
	case slices.Contains(shown[kind], sub):
		return media, true
	case kind == "text" && !strings.Contains(sub, "html") && !strings.Contains(sub, "xml"), media == "application/json":
		return "text/plain; charset=utf-8", true
	default:
		return savedType, false
	}
}

// PresignGet returns a link that works without credentials until it expires,
// for the address at which clients reach the service. The browser is told the
// file's name, and to show what it only can show, else to save it; save makes it
// save in any case.
func (s *Store) PresignGet(ctx context.Context, key, filename, contentType string, save bool) (string, time.Time, error) {
	if err := checkKey(key); err != nil {
		return "", time.Time{}, err
	}
	safe, inline := safeType(contentType)
	input := &s3.GetObjectInput{
		Bucket:                     aws.String(s.bucket),
		Key:                        aws.String(key),
		ResponseContentDisposition: aws.String(disposition(filename, inline && !save)),
		ResponseContentType:        aws.String(safe),
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
