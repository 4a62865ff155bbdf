package rpcserver

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// unhurried is a request's body whose client may pause only so long: one that
// never finishes a request would hold a connection for good. Streams are not
// touched: over HTTP/1 a body is read to its end before they begin, and over
// HTTP/2 one connection carries them all.
type unhurried struct {
	io.ReadCloser
	conn  *http.ResponseController
	pause time.Duration
}

// limitPauses puts a request's body under the limit, also when nobody reads
// it: the server itself reads the rest of a refused one.
func limitPauses(w http.ResponseWriter, r *http.Request, pause time.Duration) error {
	if r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	u := &unhurried{ReadCloser: r.Body, conn: http.NewResponseController(w), pause: pause}
	r.Body = u
	return u.hurry()
}

func (u *unhurried) hurry() error { return u.conn.SetReadDeadline(time.Now().Add(u.pause)) }

// Read implements io.Reader.
func (u *unhurried) Read(p []byte) (int, error) {
	if err := u.hurry(); err != nil {
		return 0, err
	}
	n, err := u.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		// From here on the connection may be silent as long as the answer takes.
		if err := u.conn.SetReadDeadline(time.Time{}); err != nil {
			return n, err
		}
	}
	return n, err
}
