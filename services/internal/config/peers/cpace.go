package peers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"errors"

	"github.com/gtank/ristretto255"
)

// CPace with the suite CPACE-RISTR255-SHA512, in the setting of an initiator
// and a responder, https://datatracker.ietf.org/doc/draft-irtf-cfrg-cpace/.
// Names in parentheses are the draft's.
const (
	dsi    = "CPaceRistretto255"
	dsiISK = dsi + "_ISK"
	// macLabel begins what the key of a confirmation is made from.
	macLabel = "CPaceMac"
	// procedure is the first part of the channel identifier: the exchange is
	// good for nothing else.
	procedure = "poco.config.v1.ConfigService/ComparePeer"
	// uniformSize is how many uniform bytes make a uniform scalar or element.
	uniformSize = 64
)

// errShare says that what should be an element of the group is none, or is the
// identity, with which the key would not depend on the secret.
var errShare = errors.New("the share is not a usable element of ristretto255")

// binding is what an exchange is about. It goes into the generator, so that no
// message fits into an exchange of another session, setting or role.
type binding struct {
	// session is random and new for each call (sid).
	session []byte
	// initiator and responder are the names of the services.
	initiator, responder string
	env                  string
}

// channel is the channel identifier (CI).
func (b binding) channel() []byte {
	return concat([]byte(procedure), []byte(b.initiator), []byte(b.responder), []byte(b.env))
}

// concat puts the length, in LEB128, before each part (lv_cat): no two lists of
// parts give the same bytes.
func concat(parts ...[]byte) []byte {
	var out []byte
	for _, part := range parts {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}

// generator maps the secret (PRS) and what the exchange is about to an element
// of the group (calculate_generator).
func generator(secret, channel, session []byte) *ristretto255.Element {
	// Zeros fill the hash's first block, so that the time it takes tells nothing
	// about the length of a usual secret.
	used := len(concat([]byte(dsi), secret)) + 1
	padding := make([]byte, max(0, sha512.BlockSize-used))
	hash := sha512.Sum512(concat([]byte(dsi), secret, padding, channel, session))
	return ristretto255.NewElement().FromUniformBytes(hash[:])
}

// newScalar returns a uniform secret scalar.
func newScalar() *ristretto255.Scalar {
	var uniform [uniformSize]byte
	_, _ = rand.Read(uniform[:]) // never fails, see crypto/rand
	return ristretto255.NewScalar().FromUniformBytes(uniform[:])
}

// multiply is scalar_mult_vfy: it refuses what is not the one encoding of an
// element, and the identity.
func multiply(scalar *ristretto255.Scalar, share []byte) ([]byte, error) {
	element := ristretto255.NewElement()
	if err := element.Decode(share); err != nil {
		return nil, errShare
	}
	product := ristretto255.NewElement().ScalarMult(scalar, element)
	if product.Equal(ristretto255.NewElement()) == 1 {
		return nil, errShare
	}
	return product.Encode(nil), nil
}

// sessionKey is the intermediate session key (ISK) of the two messages.
func sessionKey(session, secretPoint, messageA, messageB []byte) []byte {
	hash := sha512.New()
	for _, part := range [][]byte{concat([]byte(dsiISK), session, secretPoint), messageA, messageB} {
		_, _ = hash.Write(part) // a hash never fails
	}
	return hash.Sum(nil)
}

// confirmation proves that the responder has the key, by a MAC over its own
// message (Tb, section "Key confirmation").
func confirmation(key, messageB []byte) []byte {
	macKey := sha512.Sum512(append([]byte(macLabel), key...))
	mac := hmac.New(sha512.New, macKey[:])
	_, _ = mac.Write(messageB) // a hash never fails
	return mac.Sum(nil)
}

// message is a share without associated data (MSGa, MSGb).
func message(share []byte) []byte { return concat(share, nil) }

// initiation is the initiator's side of one exchange.
type initiation struct {
	about  binding
	scalar *ristretto255.Scalar
	// share is Ya.
	share []byte
}

func initiate(secret string, about binding) *initiation {
	return initiateWith(newScalar(), secret, about)
}

func initiateWith(scalar *ristretto255.Scalar, secret string, about binding) *initiation {
	g := generator([]byte(secret), about.channel(), about.session)
	return &initiation{about: about, scalar: scalar, share: ristretto255.NewElement().ScalarMult(scalar, g).Encode(nil)}
}

// confirms tells whether the responder's answer proves that it has the same
// secret.
func (i *initiation) confirms(share, proof []byte) (bool, error) {
	secretPoint, err := multiply(i.scalar, share)
	if err != nil {
		return false, err
	}
	key := sessionKey(i.about.session, secretPoint, message(i.share), message(share))
	return hmac.Equal(proof, confirmation(key, message(share))), nil
}

// respond answers an initiator's share with the responder's own (Yb) and its
// confirmation (Tb).
func respond(secret string, about binding, initiatorShare []byte) (share, proof []byte, err error) {
	scalar := newScalar()
	secretPoint, err := multiply(scalar, initiatorShare)
	if err != nil {
		return nil, nil, err
	}
	g := generator([]byte(secret), about.channel(), about.session)
	share = ristretto255.NewElement().ScalarMult(scalar, g).Encode(nil)
	key := sessionKey(about.session, secretPoint, message(initiatorShare), message(share))
	return share, confirmation(key, message(share)), nil
}
