package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// untrustedTexts are what git says, by whichever TLS library it was built with,
// and npm, in lower case.
var untrustedTexts = []string{
	"server certificate verification failed",
	"unable to get local issuer certificate", "unable to get issuer certificate", "unable to verify the first certificate",
	"self-signed certificate", "self signed certificate",
	"certificate issuer is not recognized", "certificate issuer has been marked as not trusted",
	"error setting certificate",
	"self_signed_cert_in_chain", "depth_zero_self_signed_cert", "unable_to_get_issuer_cert", "unable_to_verify_leaf_signature",
}

// ExplainUntrusted adds to the error of a connection, Go's, git's or npm's, what to set
// when it failed because nobody vouches for the certificate that was shown. Other
// errors are returned as they are: a certificate of another host or time is not
// solved by trust.
func ExplainUntrusted(err error) error {
	if err == nil || !untrusted(err) {
		return err
	}
	return fmt.Errorf("%w: the certificate is not trusted; SSL_CERT_FILE names the authorities that are, a proxy's own among them", err)
}

func untrusted(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host), errors.As(err, &invalid):
		return false
	case errors.As(err, &verification), errors.As(err, &authority):
		return true
	}
	said := strings.ToLower(err.Error())
	return slices.ContainsFunc(untrustedTexts, func(text string) bool { return strings.Contains(said, text) })
}
