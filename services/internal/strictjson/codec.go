// Package strictjson reads JSON requests and refuses what nobody would read: a
// mistyped field is told, with its path and what was probably meant, instead of
// being left out of the request.
package strictjson

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/proto"
)

// Header lets a client that is newer than the service send fields that the
// service does not know, with the value Ignore: they are left out, as protobuf's
// binary form always does it.
const (
	Header = "Poco-Unknown-Fields"
	Ignore = "ignore"
)

type lenientKey struct{}

// WithHeader returns the context of a request that says by Header whether
// unknown fields are left out.
func WithHeader(ctx context.Context, header http.Header) context.Context {
	if header.Get(Header) != Ignore {
		return ctx
	}
	return context.WithValue(ctx, lenientKey{}, true)
}

// Codec is the canonical JSON mapping of protobuf. Use NewCodec.
type Codec struct {
	*connectproto.JSONCodec
	lenient *connectproto.JSONCodec
}

// NewCodec returns a codec for a server. Its errors in reading are
// rpcerror.InvalidArgument, with a field violation for each mistake.
func NewCodec() *Codec {
	strict := connectproto.NewJSONCodec()
	strict.UnmarshalOptions.DiscardUnknown = false
	return &Codec{JSONCodec: strict, lenient: connectproto.NewJSONCodec()}
}

// UnmarshalRead implements connect.Codec.
func (c *Codec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	if ctx.Value(lenientKey{}) != nil {
		return c.lenient.UnmarshalRead(ctx, src, msg)
	}
	message, ok := msg.(proto.Message)
	if !ok {
		return fmt.Errorf("%w: got %T", connectproto.ErrNotProtoMessage, msg)
	}
	data, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errors.New("the body is empty: send a JSON object, {} for a request without fields")
	}
	if err := c.UnmarshalOptions.Unmarshal(data, message); err != nil {
		return explain(data, message.ProtoReflect().Descriptor(), err)
	}
	return nil
}
