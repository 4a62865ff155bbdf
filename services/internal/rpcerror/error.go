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
)

// Domain is the domain of every ErrorInfo.
const Domain = "poco.ai"

// Error is an error meant for the caller: its message goes to the wire, its
// cause stays in the process.
type Error struct {
	code     connect.Code
	reason   string
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

// New returns an error with a stable reason in UPPER_SNAKE.
func New(code connect.Code, reason, message string, metadata map[string]string) *Error {
	return &Error{code: code, reason: reason, message: message, metadata: maps.Clone(metadata)}
}

// NotFound says that there is no such thing, or none of this user's. The kind
// is a noun such as "session".
func NotFound(kind, id string) *Error {
	return New(connect.CodeNotFound, "NOT_FOUND", fmt.Sprintf("%s %q not found", kind, id),
		map[string]string{"kind": kind, "id": id})
}

// InvalidArgument says what is wrong with one field.
func InvalidArgument(field, description string) *Error {
	e := New(connect.CodeInvalidArgument, "INVALID_ARGUMENT", field+": "+description, nil)
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
	e := New(connect.CodeInvalidArgument, "INVALID_ARGUMENT", strings.Join(lines, "; "), nil)
	e.fields = violations
	return e
}

// FailedPrecondition says that the state does not allow the call.
func FailedPrecondition(reason, message string, metadata map[string]string) *Error {
	return New(connect.CodeFailedPrecondition, reason, message, metadata)
}

// AlreadyExists says that there is such a thing already.
func AlreadyExists(reason, message string) *Error {
	return New(connect.CodeAlreadyExists, reason, message, nil)
}

// OutOfRange says that a position is past the end.
func OutOfRange(reason, message string, metadata map[string]string) *Error {
	return New(connect.CodeOutOfRange, reason, message, metadata)
}

// ReasonUnauthenticated is the reason of Unauthenticated.
const ReasonUnauthenticated = "UNAUTHENTICATED"

// Unauthenticated says that the caller has not shown who it is.
func Unauthenticated(message string) *Error {
	return New(connect.CodeUnauthenticated, ReasonUnauthenticated, message, nil)
}

// Unavailable says that trying again later may help.
func Unavailable(reason, message string) *Error {
	return New(connect.CodeUnavailable, reason, message, nil)
}

// Aborted says that another call got in between; trying again may help.
func Aborted(reason, message string) *Error {
	return New(connect.CodeAborted, reason, message, nil)
}

// ResourceExhausted says that the caller has called too often, and when it may
// call again.
func ResourceExhausted(reason, message string, retryAfter time.Duration) *Error {
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
func (e *Error) Reason() string { return e.reason }
