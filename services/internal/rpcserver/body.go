package rpcserver

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// lingerPause and lingerMost are how long the rest of a refused body is read
	// (nginx: lingering_timeout and lingering_time). A client that has not sent
	// all would find its connection reset instead of the answer.
	lingerPause = 5 * time.Second
	lingerMost  = 30 * time.Second
)

// unhurried is a request's body whose client may pause only so long: one that
// never finishes a request would hold a connection for good. Streams are not
// touched: over HTTP/1 a body is read to its end before they begin, and over
// HTTP/2 their bodies have no length.
type unhurried struct {
	io.Reader
	conn *http.ResponseController
	// multiplexed: the connection carries other requests as well (HTTP/2).
	multiplexed bool

	// mu is for a proxy's handler, which may return while the body is still sent on.
	mu    sync.Mutex
	pause time.Duration
	// asked is false as long as the client waits to be asked for the body.
	asked bool
	// err is what ended the reading.
	err error
}

// limitPauses puts a request's body under the limit. It returns nil when there
// is nothing to limit.
func limitPauses(w http.ResponseWriter, r *http.Request, pause time.Duration) (*unhurried, error) {
	multiplexed := r.ProtoMajor != 1
	if r.Body == nil || r.Body == http.NoBody || multiplexed && r.ContentLength <= 0 {
		return nil, nil //nolint:nilnil // no body, no error
	}
	u := &unhurried{
		Reader: r.Body, conn: http.NewResponseController(w), pause: pause, asked: r.Header.Get("Expect") == "", multiplexed: multiplexed,
	}
	r.Body = u
	// Else the server reads 256 KiB when the answer begins, and hangs up on who
	// sends more.
	return u, errors.Join(u.conn.EnableFullDuplex(), u.hurry())
}

func (u *unhurried) hurry() error { return u.conn.SetReadDeadline(time.Now().Add(u.pause)) }

// Read implements io.Reader.
func (u *unhurried) Read(p []byte) (n int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = true
	if err := u.hurry(); err != nil {
		return 0, err
	}
	n, u.err = u.Reader.Read(p)
	if errors.Is(u.err, io.EOF) {
		// From here on the connection may be silent as long as the answer takes.
		if err := u.conn.SetReadDeadline(time.Time{}); err != nil {
			return n, err
		}
	}
	return n, u.err
}

// Close implements io.Closer: what is not read is left to linger.
func (u *unhurried) Close() error { return nil }

// linger sends the answer and reads what the client still sends of a body that
// the answer did not need. When that does not end, the connection does. Over
// HTTP/2 the answer follows what is read: its end resets the stream of who still
// sends, and clients then drop the answer.
func (u *unhurried) linger() {
	if u == nil {
		return
	}
	u.mu.Lock()
	u.pause = min(u.pause, lingerPause)
	asked, err := u.asked, u.err
	u.mu.Unlock()
	if !asked || errors.Is(err, io.EOF) {
		return
	}
	until := time.Now().Add(lingerMost)
	if !u.multiplexed {
		err = errors.Join(err, u.conn.Flush())
	}
	for buf := make([]byte, 64<<10); err == nil && time.Now().Before(until); {
		_, err = u.Read(buf)
	}
	if !errors.Is(err, io.EOF) && !u.multiplexed {
		panic(http.ErrAbortHandler) // the rest of a body is not the next request
	}
}
