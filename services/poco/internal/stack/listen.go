package stack

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/poco-ai/poco/services/internal/config"
)

// scriptedPace is the pause between the pieces of the scripted model's text, so
// that one sees it arrive.
const scriptedPace = 25 * time.Millisecond

// listen takes the services' ports, all before anything starts, and completes
// the layer with their addresses.
func (s *stack) listen(ctx context.Context) error {
	server := s.settings.backend.Msg.GetServer()
	page := s.settings.frontend.Msg
	var errs [4]error
	s.backendListener, errs[0] = listen(ctx, "backend", server.GetHost(), int(server.GetPort()), "PORT")
	s.frontendListener, errs[1] = listen(ctx, "frontend", page.GetHost(), int(page.GetPort()), "FRONTEND_PORT")
	var managerPort int
	managerPort, errs[2] = s.managerPort(ctx)
	errs[3] = s.serverPorts(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		for _, listener := range []net.Listener{s.backendListener, s.frontendListener} {
			if listener != nil {
				err = errors.Join(err, listener.Close())
			}
		}
		return err
	}
	backendPort := s.backendListener.Addr().(*net.TCPAddr).Port
	managerHost := s.settings.manager.Msg.GetServer().GetHosts()[0]
	s.managerAddr = clientAddr(managerHost, managerPort)
	s.layer.addresses(clientAddr(server.GetHost(), backendPort), s.managerAddr, s.home)
	s.keepToOwnBackend()
	return s.load()
}

// keepToOwnBackend has page and manager act on the backend that runs here,
// whatever the environment of another deployment says: the page would hand
// this stack's token to another system, and change what is there.
func (s *stack) keepToOwnBackend() {
	field := config.FieldOf(s.settings.frontend.Report(), "BACKEND_URL")
	if !isSet(field) {
		return
	}
	s.overrides["BACKEND_URL"] = s.layer["BACKEND_URL"]
	for _, alias := range field.GetAliases() {
		s.overrides[alias] = ""
	}
	s.opts.Progress("BACKEND_URL is set and has no effect: poco up runs a backend of its own")
}

// serverPorts tells of ports that the embedded servers would not get, before
// anything is fetched for them. After a Poco that was killed its servers may
// still be ending: the starts of their successors wait for that.
func (s *stack) serverPorts(ctx context.Context) error {
	if s.dir.unclean {
		return nil
	}
	var errs []error
	if s.ownPostgres {
		errs = append(errs, free(ctx, postgresServer, loopback, s.compose.postgresPort, s.compose.postgresPortSetting))
	}
	if s.ownS3 {
		errs = append(errs, free(ctx, s3Server, loopback, s.compose.s3Port, s.compose.s3PortSetting))
	}
	return errors.Join(errs...)
}

// managerPort makes sure that the manager will get its port, on every address
// it is to listen on. It binds them itself.
func (s *stack) managerPort(ctx context.Context) (int, error) {
	cfg := s.settings.manager.Msg.GetServer()
	port := int(cfg.GetPort())
	hosts := cfg.GetHosts()
	if s.home.gateway != "" {
		hosts = append(hosts[:len(hosts):len(hosts)], s.home.gateway)
	}
	for _, host := range hosts {
		listener, err := listen(ctx, "executor manager", host, port, "EXECUTOR_MANAGER_PORT")
		if err != nil {
			return 0, err
		}
		port = listener.Addr().(*net.TCPAddr).Port
		if err := listener.Close(); err != nil {
			return 0, err
		}
	}
	if cfg.GetPort() == 0 {
		s.overrides["EXECUTOR_MANAGER_PORT"] = strconv.Itoa(port)
	}
	return port, nil
}
