// Package page cuts lists into pages, and makes the tokens that lead from one
// page to the next.
package page

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

const macBytes = 12

// Key is the position after the last row of a page: what the list is ordered
// by. Rows added meanwhile never move a row from one page to another.
type Key struct {
	Time time.Time `json:"t,omitzero"`
	Seq  int64     `json:"s,omitempty"`
	ID   string    `json:"i,omitempty"`
	Path string    `json:"p,omitempty"`
	// Index is a position in what never changes.
	Index int `json:"n,omitempty"`
}

// Where lists begin: before all rows, and after all of them for a list that
// begins with the newest.
var (
	Oldest = Key{Time: time.Unix(0, 0), ID: "00000000-0000-0000-0000-000000000000"}
	Newest = Key{Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: "ffffffff-ffff-ffff-ffff-ffffffffffff"}
)

// Tokens signs tokens, so that a token is only ever one that a list gave out,
// and used for the same list with the same filters.
type Tokens struct{ key []byte }

// NewTokens derives the signing key from the service's secret.
func NewTokens(secret config.Secret) *Tokens {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte("poco page tokens v1"))
	return &Tokens{key: mac.Sum(nil)}
}

// Encode returns the token of a position in a list. The list's name includes
// its filters.
func (t *Tokens) Encode(list string, key Key) (string, error) {
	body, err := json.Marshal(key)
	if err != nil {
		return "", fmt.Errorf("encode page token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(t.mac(list, body), body...)), nil
}

// Decode is the inverse of Encode. The empty token of a first page gives first.
func (t *Tokens) Decode(list, token string, first Key) (Key, error) {
	if token == "" {
		return first, nil
	}
	var key Key
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) <= macBytes || !hmac.Equal(raw[:macBytes], t.mac(list, raw[macBytes:])) ||
		json.Unmarshal(raw[macBytes:], &key) != nil {
		return Key{}, rpcerror.InvalidArgument("page_token", "must be the next_page_token of the same list with the same filters")
	}
	return key, nil
}

func (t *Tokens) mac(list string, body []byte) []byte {
	mac := hmac.New(sha256.New, t.key)
	fmt.Fprintf(mac, "%d:%s", len(list), list)
	mac.Write(body)
	return mac.Sum(nil)[:macBytes]
}
