package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// Token prefixes make a leaked token recognisable for what it is.
const (
	runPrefix      = "prt_"
	executorPrefix = "pet_"
)

// ErrBadToken means that a token was not made by this manager.
var ErrBadToken = errors.New("token is not valid")

// RunToken is what the executor of a run shows on its channel and at the model
// gateway: "prt_<run id>.<mac>". It verifies again after a restart.
func (i *Identity) RunToken(runID string) string {
	return runPrefix + runID + "." + i.mac("run:"+runID)
}

// VerifyRunToken returns the run a token was made for. Whether the run is
// still held is the caller's to check.
func (i *Identity) VerifyRunToken(token string) (runID string, err error) {
	rest, ok := strings.CutPrefix(token, runPrefix)
	if !ok {
		return "", ErrBadToken
	}
	runID, mac, ok := strings.Cut(rest, ".")
	if !ok || !hmac.Equal([]byte(mac), []byte(i.mac("run:"+runID))) {
		return "", ErrBadToken
	}
	return runID, nil
}

// ExecutorToken is what the manager shows to an executor: "pet_<executor id>.<mac>".
func (i *Identity) ExecutorToken(executorID string) string {
	return executorPrefix + executorID + "." + i.mac("executor:"+executorID)
}

func (i *Identity) mac(text string) string {
	h := hmac.New(sha256.New, i.key)
	h.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
