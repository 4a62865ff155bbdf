package command

import (
	"context"
	"fmt"
	"net"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/poco/internal/client"
	"github.com/poco-ai/poco/services/poco/internal/localstack"
	"github.com/poco-ai/poco/services/poco/internal/stack"
)

// access is how this user reaches services: with the token of POCO_TOKEN, else,
// at the "poco up" that runs on the data folder, with the one kept there.
type access struct {
	explicit config.Secret
	local    localstack.Local
	// unknown says why nothing is known of a local one.
	unknown error
}

func (c *cli) access() access {
	a := access{explicit: c.config.Secret("POCO_TOKEN")}
	dir, err := c.dataDir()
	if err == nil {
		a.local, err = localstack.Find(dir)
	}
	a.unknown = err
	return a
}

// Token implements fleet.Access.
func (a access) Token(target string) config.Secret {
	if a.explicit.IsSet() {
		return a.explicit
	}
	return a.local.Token(target)
}

// Dial implements fleet.Access.
func (a access) Dial(ctx context.Context, dialer *net.Dialer, network, addr string) (net.Conn, error) {
	return a.local.Dial(ctx, dialer, network, addr)
}

// hint says what to do when a backend does not take what it was shown.
func (a access) hint(target string) string {
	switch {
	case a.explicit.IsSet():
		return "POCO_TOKEN (or POCO_TOKEN_FILE) is not the CLIENT_TOKEN of this backend: correct it, or leave it out for the token of a local \"poco up\""
	case a.local.Token(target).IsSet():
		return "the token in the data folder is not the one with which this backend runs: start \"poco up\" again"
	case a.unknown != nil:
		return fmt.Sprintf("A local \"poco up\" keeps its token, for the user who started it only, in the file client-token of its data folder; %s.\n"+
			"Name its data folder with --data-dir or POCO_DATA_DIR, or set POCO_TOKEN to the CLIENT_TOKEN of this backend", a.unknown)
	default:
		return "the token of the local \"poco up\" is not for this address: set POCO_TOKEN to the CLIENT_TOKEN of this backend"
	}
}

func (c *cli) client() *client.Backend {
	target := c.backend
	if target == "" {
		target = c.config.Msg.GetBackendUrl()
	}
	a := c.access()
	return client.New(target, client.Access{
		Token: a.Token(target), Dial: a.Dial, Direct: a.local.Token(target).IsSet(), Hint: a.hint(target),
	})
}

// clientOf returns a client of the backend of a stack that this process runs.
func (c *cli) clientOf(info stack.Info) *client.Backend {
	return client.New(info.BackendURL, client.Access{Token: config.NewSecret(info.ClientToken), Direct: true})
}
