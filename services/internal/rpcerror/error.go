// Package rpcerror is the one place where errors of the domain become RPC
// errors: a code, a message for the caller, and google.rpc details.
package rpcerror

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"connectrpc.com/connect/v2"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// Domain is the domain of every ErrorInfo.
const Domain = "poco.ai"

// reasonPrefix is what the names of reasons begin with, and ErrorInfo leaves out.
const reasonPrefix = "ERROR_REASON_"

// ReasonText is a reason as ErrorInfo has it, for example "NOT_FOUND".
func ReasonText(reason backendv1.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), reasonPrefix)
}

// Error is an error meant for the caller: its message goes to the wire, its
// cause stays in the process.
type Error struct {
	code     connect.Code
	reason   backendv1.ErrorReason
	message  string
	metadata map[string]string
	fields   []FieldViolation
	// retryAfter is when trying again may help; 0 when that is not known.
	retryAfter time.Duration
	cause      error
}

// FieldViolation says what is wrong with one field of a request.
type FieldViolation struct {
	// Field is the path of the field, for example "prompt".
	Field string
	// Description says what was expected.
	Description string
}

// New returns an error with a reason.
func New(code connect.Code, reason backendv1.ErrorReason, message string, metadata map[string]string) *Error {
	return &Error{code: code, reason: reason, message: message, metadata: maps.Clone(metadata)}
}

// NotFound says that there is no such thing, or none of this user's. The kind
// is a noun such as "session".
func NotFound(kind, id string) *Error {
	return New(connect.CodeNotFound, backendv1.ErrorReason_ERROR_REASON_NOT_FOUND, fmt.Sprintf("%s %q not found", kind, id),
		map[string]string{"kind": kind, "id": id})
}

// InvalidArgument says what is wrong with one field.
func InvalidArgument(field, description string) *Error {
	e := New(connect.CodeInvalidArgument, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, field+": "+description, nil)
	e.fields = []FieldViolation{{Field: field, Description: description}}
	return e
}

// InvalidFields says what is wrong with several fields.
func InvalidFields(violations ...FieldViolation) *Error {
	lines := make([]string, 0, len(violations))
	for _, v := range violations {
		if v.Field == "" {
			lines = append(lines, v.Description)
			continue
		}
		lines = append(lines, v.Field+": "+v.Description)
	}
	e := New(connect.CodeInvalidArgument, backendv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, strings.Join(lines, "; "), nil)
	e.fields = violations
	return e
}

// FailedPrecondition says that the state does not allow the call.
func FailedPrecondition(reason backendv1.ErrorReason, message string, metadata map[string]string) *Error {
	return New(connect.CodeFailedPrecondition, reason, message, metadata)
}

// AlreadyExists says that there is such a thing already.
func AlreadyExists(reason backendv1.ErrorReason, message string) *Error {
	return New(connect.CodeAlreadyExists, reason, message, nil)
}

// OutOfRange says that a position is past the end.
func OutOfRange(reason backendv1.ErrorReason, message string, metadata map[string]string) *Error {
	return New(connect.CodeOutOfRange, reason, message, metadata)
}

// Unauthenticated says that the caller has not shown who it is.
func Unauthenticated(message string) *Error {
	return New(connect.CodeUnauthenticated, backendv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED, message, nil)
}

// Unavailable says that trying again later may help.
func Unavailable(reason backendv1.ErrorReason, message string) *Error {
	return New(connect.CodeUnavailable, reason, message, nil)
}

// Aborted says that another call got in between; trying again may help.
func Aborted(reason backendv1.ErrorReason, message string) *Error {
	return New(connect.CodeAborted, reason, message, nil)
}

// ResourceExhausted says that the caller has called too often, and when it may
// call again.
func ResourceExhausted(reason backendv1.ErrorReason, message string, retryAfter time.Duration) *Error {
	seconds := max(1, int(math.Ceil(retryAfter.Seconds())))
	e := New(connect.CodeResourceExhausted, reason, fmt.Sprintf("%s: try again in %d s", message, seconds), nil)
	e.retryAfter = retryAfter
	return e
}

// RetryAfter tells the caller when trying again may help.
func (e *Error) RetryAfter(d time.Duration) *Error {
	c := *e
	c.retryAfter = d
	return &c
}

// WithCause keeps the error behind this one for the log; it never reaches the
// wire.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Error implements error.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.message + ": " + e.cause.Error()
	}
	return e.message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Code returns the RPC code.
func (e *Error) Code() connect.Code { return e.code }

// Reason returns the stable reason.
func (e *Error) Reason() backendv1.ErrorReason { return e.reason }
