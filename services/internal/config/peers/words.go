package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"connectrpc.com/connect/v2"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// meaning says what a result means and what to do.
func meaning(result configv1.PeerResult, agreement configv1.Agreement, peer string, tooShortHere bool) string {
	switch result {
	case configv1.PeerResult_PEER_RESULT_EQUAL:
		return "the " + peer + " has the same value"
	case configv1.PeerResult_PEER_RESULT_DIFFERENT:
		switch agreement {
		case configv1.Agreement_AGREEMENT_MUST:
			return "the " + peer + " has another value: set both to the same one"
		case configv1.Agreement_AGREEMENT_SHOULD:
			return "the " + peer + " has another value, which is unusual and may be meant"
		default:
			return "the " + peer + " has another value"
		}
	case configv1.PeerResult_PEER_RESULT_UNSET_HERE:
		return "the " + peer + " has a value, and here is none"
	case configv1.PeerResult_PEER_RESULT_UNSET_THERE:
		return "the " + peer + " has no value, and here is one"
	case configv1.PeerResult_PEER_RESULT_UNSET_BOTH:
		return "neither has a value"
	case configv1.PeerResult_PEER_RESULT_TOO_SHORT:
		where := "of the " + peer
		if tooShortHere {
			where = "here"
		}
		return fmt.Sprintf("not compared, because the secret %s has fewer than %d characters and could be guessed: "+
			"set a longer one, for example from: openssl rand -hex 32", where, minSecretLength)
	default:
		return "the " + peer + " did not answer as this version expects"
	}
}

// Explain says why a peer could not be asked, without repeating its URL or
// anything it said.
func Explain(err error) string {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, ErrOtherService):
		return "another service answers there: correct the URL"
	case errors.Is(err, ErrAnswer):
		return "what answers there does not answer as this version expects"
	case errors.As(err, &dns):
		return "its host name cannot be resolved from here: correct the URL, or the name service"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused: start the service, or correct host and port of the URL"
	case errors.Is(err, context.DeadlineExceeded), connect.CodeOf(err) == connect.CodeDeadlineExceeded, isTimeout(err):
		return "it does not answer in time: see whether it runs, and whether a firewall is in between"
	case errors.As(err, &certificate):
		return "its TLS certificate is not trusted here"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "it does not speak TLS: correct the URL to begin with http://"
	}
	switch code := rpcerror.CodeOf(err); {
	case code == connect.CodeResourceExhausted && isRemote(err): // else the answer is too large
		return "it has been asked too often: try again in a minute"
	case IsRefused(err):
		return "it refuses the token, without which it compares nothing"
	case code == connect.CodeUnimplemented || code == connect.CodeNotFound:
		return "what answers there cannot compare settings: it is no service of Poco, or one of an older version"
	case code == connect.CodeInvalidArgument:
		return "it refuses the comparison: the two are of versions that do not fit"
	case code == connect.CodeUnavailable:
		return "it cannot be reached from here, or is not ready"
	default:
		return "what answers there does not answer like a service of Poco"
	}
}

// IsRefused tells whether the peer, a service of Poco, refuses the token.
func IsRefused(err error) bool {
	return rpcerror.Reason(err) == backendv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED
}

// isRemote tells whether an error is what the peer said.
func isRemote(err error) bool {
	var rpc *connect.Error
	return errors.As(err, &rpc) && rpc.IsRemote()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// printable is a peer's version in the form that may be shown.
func printable(version string) string {
	const longest = 100
	if len(version) > longest || strings.ContainsFunc(version, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return version
}
