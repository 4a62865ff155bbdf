package rpcerror

import (
	"errors"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// Reason returns the ErrorInfo reason of a received gRPC or Connect error, or
// of an *Error; UNSPECIFIED when it has none, or one of a later version.
func Reason(err error) backendv1.ErrorReason {
	if domain, ok := errors.AsType[*Error](err); ok {
		return domain.reason
	}
	return backendv1.ErrorReason(backendv1.ErrorReason_value[reasonPrefix+errorInfo(err).GetReason()])
}

// Metadata returns the ErrorInfo metadata likewise.
func Metadata(err error) map[string]string {
	if domain, ok := errors.AsType[*Error](err); ok {
		return domain.metadata
	}
	return errorInfo(err).GetMetadata()
}

// CodeOf returns the code of a received gRPC or Connect error, or of an *Error;
// Unknown when it has none.
func CodeOf(err error) connect.Code {
	if domain, ok := errors.AsType[*Error](err); ok {
		return domain.code
	}
	if connectErr, ok := errors.AsType[*connect.Error](err); ok {
		return connectErr.Code()
	}
	if st, ok := status.FromError(err); ok {
		return connect.Code(st.Code())
	}
	return connect.CodeUnknown
}

// Message returns the message of such an error, without the code in front.
func Message(err error) string {
	if domain, ok := errors.AsType[*Error](err); ok {
		return domain.message
	}
	if connectErr, ok := errors.AsType[*connect.Error](err); ok {
		return connectErr.Message()
	}
	if st, ok := status.FromError(err); ok {
		return st.Message()
	}
	return err.Error()
}

func errorInfo(err error) *errdetails.ErrorInfo {
	if err == nil {
		return nil
	}
	if connectErr, ok := errors.AsType[*connect.Error](err); ok {
		for _, detail := range connectErr.Details() {
			if msg, err := connectproto.UnmarshalErrorDetail(detail); err == nil {
				if info, ok := msg.(*errdetails.ErrorInfo); ok {
					return info
				}
			}
		}
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}
