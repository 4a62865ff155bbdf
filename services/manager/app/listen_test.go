package app

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenAddrs(t *testing.T) {
	for name, c := range map[string]struct{ hosts, want []string }{
		"one":                     {[]string{"0.0.0.0"}, []string{"0.0.0.0:1"}},
		"loopback and a bridge":   {[]string{"127.0.0.1", "172.17.0.1"}, []string{"127.0.0.1:1", "172.17.0.1:1"}},
		"twice":                   {[]string{"127.0.0.1", "127.0.0.1"}, []string{"127.0.0.1:1"}},
		"covered by IPv4":         {[]string{"127.0.0.1", "0.0.0.0", "localhost"}, []string{"0.0.0.0:1"}},
		"covered by all":          {[]string{"::", "127.0.0.1", "::1", "0.0.0.0"}, []string{"[::]:1"}},
		"IPv6 beside all of IPv4": {[]string{"0.0.0.0", "::1"}, []string{"0.0.0.0:1", "[::1]:1"}},
		"a name is left as it is": {[]string{"0.0.0.0", "host.example"}, []string{"0.0.0.0:1", "host.example:1"}},
	} {
		require.Equal(t, c.want, listenAddrs(c.hosts, 1), name)
	}
}
