package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/poco-ai/poco/services/internal/agents"
)

// Token prefixes make a leaked token recognisable for what it is.
const (
	channelPrefix  = "pct_"
	executorPrefix = "pet_"
)

// modelPrefixes are those of model tokens, by the API that they open.
var modelPrefixes = map[agents.API]string{agents.Anthropic: "pmt_", agents.OpenAI: "pmo_"}

// ErrBadToken means that a token was not made by this manager, or for another
// purpose.
var ErrBadToken = errors.New("token is not valid")

// Attempt names one attempt of a run. A run that is adopted after a restart
// goes on in the same attempt; one that is claimed anew begins another.
type Attempt struct {
	RunID  string
	Number int32
}

// String names the attempt for people.
func (a Attempt) String() string { return fmt.Sprintf("attempt %d of run %s", a.Number, a.RunID) }

// ChannelToken is what the executor of an attempt shows on its channel:
// "pct_<run id>.<attempt>.<mac>". It verifies again after a restart. The agent
// must never have it: it speaks for the executor.
func (i *Identity) ChannelToken(a Attempt) string { return i.attemptToken(channelPrefix, a) }

// ModelToken is what the agent of an attempt shows at the gateway of its model API:
// "pmt_<run id>.<attempt>.<mac>". It opens nothing else, and no other API.
func (i *Identity) ModelToken(api agents.API, a Attempt) string {
	return i.attemptToken(modelPrefixes[api], a)
}

// VerifyChannelToken returns the attempt a channel token was made for. Whether
// it is the one that is under way is the caller's to check.
func (i *Identity) VerifyChannelToken(token string) (Attempt, error) {
	return i.verify(channelPrefix, token)
}

// VerifyModelToken is VerifyChannelToken for model tokens.
func (i *Identity) VerifyModelToken(api agents.API, token string) (Attempt, error) {
	return i.verify(modelPrefixes[api], token)
}

// ExecutorToken is what the manager shows to an executor: "pet_<executor id>.<mac>".
// The executor itself only knows its hash.
func (i *Identity) ExecutorToken(executorID string) string {
	return executorPrefix + executorID + "." + i.mac(executorPrefix+executorID)
}

func (i *Identity) attemptToken(prefix string, a Attempt) string {
	subject := prefix + a.RunID + "." + strconv.FormatInt(int64(a.Number), 10)
	return subject + "." + i.mac(subject)
}

func (i *Identity) verify(prefix, token string) (Attempt, error) {
	rest, ok := strings.CutPrefix(token, prefix)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return Attempt{}, ErrBadToken
	}
	number, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil {
		return Attempt{}, ErrBadToken
	}
	// Compared as a whole: an attempt has one token, written in one way.
	a := Attempt{RunID: parts[0], Number: int32(number)}
	if !hmac.Equal([]byte(token), []byte(i.attemptToken(prefix, a))) {
		return Attempt{}, ErrBadToken
	}
	return a, nil
}

// mac signs what a token is for, its prefix included: one purpose's token is
// worth nothing for another.
func (i *Identity) mac(subject string) string {
	h := hmac.New(sha256.New, i.key)
	h.Write([]byte(subject))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
