package egress

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for value, want := range map[string]string{
		"http://proxy.lan:3128":          "",
		"https://u:s3cret@proxy.lan":     "",
		"socks5://proxy.lan:1080/":       "",
		"socks5h://[fd00::1]:1080":       "",
		"proxy.lan:3128":                 "",
		"u:s3cret@proxy.lan:3128":        "",
		"proxy":                          "",
		"htp://u:s3cret@proxy.lan:3128":  `by the scheme "htp"`,
		"socks4://proxy.lan:1080":        `by the scheme "socks4"`,
		"http://u:s3cret@proxy.lan:port": "cannot be read as a proxy",
		"http://u:s3cret@proxy.lan:0":    "names the port 0",
		"proxy.lan:99999":                "names the port 99999",
		"http://u:s3cret@:3128":          "names no host",
		"http://":                        "cannot be read as a proxy",
		"http:/u:s3cret@proxy.lan:3128":  "cannot be read as a proxy",
		"http//proxy.lan":                "cannot be read as a proxy",
		`"http://u:s3cret@proxy.lan:1"`:  "cannot be read as a proxy",
		"http://u:s3#cret@proxy.lan:1":   "cannot be read as a proxy",
		"http://proxy .lan:1":            "cannot be read as a proxy",
	} {
		for _, name := range []string{"HTTPS_PROXY", "http_proxy", "ALL_PROXY"} {
			complaints := Check(of(map[string]string{name: value}))
			if want == "" {
				require.Empty(t, complaints, value)
				continue
			}
			require.Len(t, complaints, 1, value)
			require.Equal(t, name, complaints[0].Env)
			require.Contains(t, complaints[0].Message, want, value)
			require.Contains(t, complaints[0].Message, "write http://HOST:PORT", value)
			require.NotContains(t, complaints[0].Message, "cret")
		}
	}
	for value, want := range map[string]string{
		"localhost, .lan,*.corp.lan corp.lan:8080,10.0.0.0/8,fd00::/8,::1,[::1]:80,*": "",
		"ok.lan,http://u:s3cret@corp.lan:80/x":                                        `"corp.lan:80"`,
		"corp.lan/s3cret":                                                             `"corp.lan"`,
		"10.0.0.0/33":                                                                 `"10.0.0.0"`,
		"10.*":                                                                        "a * within",
		"a.lan;b.lan":                                                                 "commas",
	} {
		for _, name := range []string{"NO_PROXY", "no_proxy"} {
			complaints := Check(of(map[string]string{name: value}))
			if want == "" {
				require.Empty(t, complaints, value)
				continue
			}
			require.Len(t, complaints, 1, value)
			require.Equal(t, name, complaints[0].Env)
			require.Contains(t, complaints[0].Message, want, value)
			require.NotContains(t, complaints[0].Message, "cret")
		}
	}
	require.Empty(t, Check(of(nil)))
}
