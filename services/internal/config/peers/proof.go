package peers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/poco-ai/poco/services/internal/config"
)

// nonceSize is the size of a caller's nonce, in bytes.
const nonceSize = 32

// nonceKey makes this process's nonces.
var nonceKey = config.Shared{Value: config.NewSecret(rand.Text())}

// Who proves, so that no proof can be sent back as one's own.
const (
	byCaller = "caller"
	byPeer   = "peer"
)

// exchange is one comparison of two services.
type exchange struct {
	caller, peer           string
	callerNonce, peerNonce []byte
}

// proof shows that one side has the value of a setting. It is good for nothing
// but this exchange, this setting and this side.
func (e exchange) proof(side string, s config.Shared) []byte {
	mac := hmac.New(sha256.New, []byte(s.Value.Reveal()))
	_, _ = fmt.Fprintf(mac, "%q %q %q %q %x %x", side, e.caller, e.peer, s.Env, e.callerNonce, e.peerNonce) // a hash never fails
	return mac.Sum(nil)
}

// proves tells whether a proof is the one of a side that has the value.
func (e exchange) proves(proof []byte, side string, s config.Shared) bool {
	return hmac.Equal(proof, e.proof(side, s))
}

// answering is the exchange that a caller has begun. The peer's nonce follows
// from the caller's: nothing has to be remembered between the two calls, and
// anyone who sends one of them again gets the answer that there was.
func answering(caller, peer string, nonce []byte) exchange {
	e := exchange{caller: caller, peer: peer, callerNonce: nonce}
	e.peerNonce = e.proof("nonce", nonceKey)
	return e
}
