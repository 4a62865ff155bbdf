package egress_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/egress"
)

func TestExplainUntrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	_, met := client.Get(server.URL)
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	for name, c := range map[string]struct {
		err       error
		untrusted bool
	}{
		"a server's own":            {met, true},
		"an authority's":            {fmt.Errorf("get: %w", verification(x509.UnknownAuthorityError{})), true},
		"as macOS says it":          {verification(errors.New("x509: “x” certificate is not trusted")), true},
		"of another host":           {verification(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}), false},
		"of another time":           {verification(x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired}), false},
		"git with GnuTLS":           {errors.New("fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none"), true},
		"git with OpenSSL":          {errors.New("fatal: unable to access 'https://x/': SSL certificate problem: unable to get local issuer certificate"), true},
		"git, self-signed":          {errors.New("SSL certificate problem: self-signed certificate in certificate chain"), true},
		"git, self-signed, older":   {errors.New("SSL certificate problem: self signed certificate"), true},
		"git, an unreadable file":   {errors.New("error setting certificate verify locations:  CAfile: /x CApath: none"), true},
		"git, of another time":      {errors.New("SSL certificate problem: certificate has expired"), false},
		"git, something else":       {errors.New("fatal: unable to access 'https://x/': Could not resolve host: x"), false},
		"something else altogether": {errors.New("connection refused"), false},
	} {
		t.Run(name, func(t *testing.T) {
			got := egress.ExplainUntrusted(c.err)
			require.ErrorIs(t, got, c.err)
			if c.untrusted {
				require.ErrorContains(t, got, c.err.Error()+": ")
				require.ErrorContains(t, got, "SSL_CERT_FILE")
			} else {
				require.Equal(t, c.err, got)
			}
		})
	}
	require.NoError(t, egress.ExplainUntrusted(nil))
}
