package rpcserver_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/poco-ai/poco/services/internal/rpcserver"
	"github.com/poco-ai/poco/services/internal/testkit"
)

// tooMuch is far above what is read of a request, and of the rest of a refused
// one without lingering.
const tooMuch = 40 << 20

// A client that sends all of a request before it reads gets its answer, and its
// connection goes on.
func TestTooLargeABodyIsAnswered(t *testing.T) {
	server, _ := start(t, nil)
	large := `{"prompt": "` + strings.Repeat("x", tooMuch) + `"}`
	for name, c := range map[string]struct{ head, body string }{
		"with a length": {fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", enqueue, len(large)), large},
		"in chunks": {"POST " + enqueue + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(large), large)},
		"to nobody": {fmt.Sprintf("POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(large)), large},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, c.head)
			require.NoError(t, err)
			_, err = io.WriteString(conn, c.body)
			require.NoError(t, err, "nobody hangs up while the client sends")
			answers := bufio.NewReader(conn)
			res, err := http.ReadResponse(answers, nil)
			require.NoError(t, err)
			answer, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			if strings.Contains(c.head, "/nothing") {
				require.Equal(t, http.StatusNotFound, res.StatusCode)
			} else {
				requireTooLarge(t, res, answer)
			}

			_, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			res, err = http.ReadResponse(answers, nil)
			require.NoError(t, err, "the connection goes on")
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.NoError(t, res.Body.Close())
		})
	}
}

// Over HTTP/2 the answer comes when the client has sent everything: at an earlier
// end of its stream, clients drop it.
func TestTooLargeABodyIsAnsweredOverHTTP2(t *testing.T) {
	server, _ := start(t, nil)
	client := testkit.HTTP2(t)
	for path, status := range map[string]int{enqueue: http.StatusTooManyRequests, "/nothing": http.StatusNotFound} {
		body := strings.NewReader(`{"prompt": "` + strings.Repeat("x", tooMuch) + `"}`)
		length := body.Size()
		sent := &counted{Reader: body}
		req, err := http.NewRequest(http.MethodPost, "http://"+server.Addr().String()+path, sent)
		require.NoError(t, err)
		req.ContentLength = length
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		require.NoError(t, err, path)
		answer, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, status, res.StatusCode)
		require.Equal(t, length, sent.n.Load(), "all of it was read")
		if path == enqueue {
			requireTooLarge(t, res, answer)
		}
	}
}

// counted counts what is read.
type counted struct {
	io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func requireTooLarge(t *testing.T, res *http.Response, answer []byte) {
	t.Helper()
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode, "what Connect has for resource_exhausted")
	require.Contains(t, string(answer), `"resource_exhausted"`)
	require.Contains(t, string(answer), "larger than 16 MiB")
}

// A proxy may answer while it still sends the body on.
func TestAnAnswerBeforeTheBodyIsRead(t *testing.T) {
	reading := make(chan struct{})
	server, _ := start(t, nil)
	read := make(chan error, 1)
	server.Handle("/early", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			_, err := r.Body.Read(make([]byte, 1))
			close(reading)
			for err == nil {
				_, err = r.Body.Read(make([]byte, 1))
			}
			read <- err
		}()
		<-reading
		w.WriteHeader(http.StatusTeapot)
	}))
	body, sent := io.Pipe()
	go func() {
		_, _ = io.WriteString(sent, strings.Repeat("x", 1000))
		_ = sent.Close()
	}()
	res, err := http.Post("http://"+server.Addr().String()+"/early", "text/plain", body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusTeapot, res.StatusCode)
	require.Error(t, <-read)
}

// Two hundred kilobytes that become tens of megabytes are too large, too.
func TestTooLargeABodyInside(t *testing.T) {
	server, _ := start(t, nil)
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	_, err := io.WriteString(pack, `{"prompt": "`+strings.Repeat("x", tooMuch)+`"}`)
	require.NoError(t, err)
	require.NoError(t, pack.Close())
	req, err := http.NewRequest(http.MethodPost, "http://"+server.Addr().String()+enqueue, &packed)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	requireTooLarge(t, res, answer)
}

// A message of a stream, which the answer to a stream tells in its last message.
func TestTooLargeAMessageOfAStream(t *testing.T) {
	server, _ := start(t, nil)
	for _, contentType := range []string{"application/connect+json", "application/grpc-web+proto"} {
		t.Run(contentType, func(t *testing.T) {
			message := binary.BigEndian.AppendUint32([]byte{0}, tooMuch)
			body := io.MultiReader(bytes.NewReader(message), bytes.NewReader(make([]byte, tooMuch)))
			req, err := http.NewRequest(http.MethodPost, "http://"+server.Addr().String()+"/poco.backend.v1.SessionService/WatchSessions", body)
			require.NoError(t, err)
			req.Header.Set("Content-Type", contentType)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer res.Body.Close()
			answer, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.Contains(t, string(answer)+fmt.Sprint(res.Header), "larger than 16 MiB")
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	server, _ := start(t, func(o *rpcserver.Options) { o.MaxOpenStreams = 2 })
	client := healthv1.NewHealthClient(dial(t, server))
	open := func(ctx context.Context) error {
		stream, err := client.Watch(ctx, &healthv1.HealthCheckRequest{})
		require.NoError(t, err)
		_, err = stream.Recv()
		return err
	}
	first, end := context.WithCancel(t.Context())
	require.NoError(t, open(first))
	require.NoError(t, open(t.Context()))
	err := open(t.Context())
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, "2 streams are open")
	require.NoError(t, open(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer internal")), "other services find a place")
	_, err = client.Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err, "calls that are no streams are not counted")
	end()
	require.Eventually(t, func() bool { return open(t.Context()) == nil }, time.Minute, 10*time.Millisecond, "who leaves makes room")
}

func TestUnknownFields(t *testing.T) {
	server, _ := start(t, nil)
	res, out := post(t, server, enqueue, `{"promt": "hello"}`)
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	require.Equal(t, "invalid_argument", out["code"])
	require.Equal(t, "promt: is not a field of the request: did you mean prompt?", out["message"])
	details, err := json.Marshal(out["details"])
	require.NoError(t, err)
	require.Contains(t, string(details), "google.rpc.BadRequest")

	res, _ = post(t, server, enqueue, `{"prompt": "hello", "fromTheFuture": 1}`, "Poco-Unknown-Fields", "ignore")
	require.Equal(t, http.StatusOK, res.StatusCode)
}
