package stack

import (
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	backend "github.com/poco-ai/poco/services/backend/app"
	frontend "github.com/poco-ai/poco/services/frontend/app"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/dockerengine"
	manager "github.com/poco-ai/poco/services/manager/app"
)

const (
	loopback = "127.0.0.1"
	bucket   = "poco"
	// executorImage is what "task image" builds.
	executorImage = "poco-executor:latest"
)

// settings are the configurations of the three services, and what follows from
// them.
type settings struct {
	backend  *backend.Config
	manager  *manager.Config
	frontend *frontend.Config
}

// loadSettings loads all three configurations; the error lists the problems of
// all of them, each once.
func loadSettings(src config.Sources) (*settings, error) {
	var s settings
	var errs [3]error
	s.backend, errs[0] = backend.LoadConfig(src)
	s.manager, errs[1] = manager.LoadConfig(src)
	s.frontend, errs[2] = frontend.LoadConfig(src)
	if err := config.Join(errs[:]...); err != nil {
		return nil, err
	}
	return &s, nil
}

// layer is what up supplies, below the environment and .env.
type layer map[string]string

// baseLayer is the part of the layer that is known before anything runs. The
// database's URL is not: its place is held by one that is never used.
func baseLayer(d *dataDir, s secrets) layer {
	l := layer{
		"HOST":                  loopback,
		"EXECUTOR_MANAGER_HOST": loopback,
		"FRONTEND_HOST":         loopback,
		"DATABASE_URL":          "postgres://poco:pending@" + loopback + ":1/poco",
		"SECRET_KEY":            s.SecretKey,
		"INTERNAL_API_TOKEN":    s.InternalAPIToken,
		"S3_ACCESS_KEY":         s.S3AccessKey,
		"S3_SECRET_KEY":         s.S3SecretKey,
		"S3_BUCKET":             bucket,
		"WORKSPACE_ROOT":        d.in("workspaces"),
		"LOG_DIR":               d.in("logs"),
		"EXECUTOR_IMAGE":        executorImage,
		// Held places, too: filled in once the servers and the addresses are known.
		"S3_ENDPOINT":       "http://" + loopback,
		"BACKEND_URL":       "http://" + loopback,
		"CALLBACK_BASE_URL": "http://" + dockerengine.GatewayHost,
	}
	// This program is the executor, too. The setting is split at spaces: a path
	// with one is left to the manager's own search.
	if self, err := os.Executable(); err == nil && !strings.ContainsAny(self, " \t") {
		l["EXECUTOR_COMMAND"] = self + " executor"
	}
	return l
}

// embeddedParts tells which parts up has to run itself: those whose address
// nobody else has set.
func embeddedParts(src config.Sources) (postgres, s3 bool) {
	loaded, err := backend.LoadConfig(src)
	if err != nil {
		return true, true // told by the loading of all settings
	}
	report := loaded.Report()
	return config.FieldOf(report, "DATABASE_URL").GetSource() <= configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED,
		config.FieldOf(report, "S3_ENDPOINT").GetSource() <= configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED
}

// addresses completes the layer with the URLs under which the services reach
// each other, as their own settings of host and port give them.
func (l layer) addresses(backendAddr, managerAddr string, home executorHome) {
	l["BACKEND_URL"] = "http://" + backendAddr
	l["EXECUTOR_MANAGER_URL"] = "http://" + managerAddr
	l["CALLBACK_BASE_URL"] = "http://" + managerAddr
	if home.docker {
		_, port, _ := net.SplitHostPort(managerAddr)
		l["CALLBACK_BASE_URL"] = "http://" + net.JoinHostPort(dockerengine.GatewayHost, port)
	}
	if home.gateway != "" {
		l["EXECUTOR_MANAGER_HOST"] = loopback + "," + home.gateway
	}
}

// clientAddr is where a server that listens on host and port is reached from
// this machine.
func clientAddr(host string, port int) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = loopback
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// publicURL is how a person on this machine calls the page.
func publicURL(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "http://" + addr.String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsLoopback() || tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(tcp.Port))}).String()
}

// with returns the sources with the layer, and overrides above everything.
func with(src config.Sources, l layer, overrides map[string]string) config.Sources {
	src = src.With(overrides)
	src.Embedded = l
	return src
}
