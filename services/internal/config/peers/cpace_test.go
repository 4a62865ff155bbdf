package peers

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/gtank/ristretto255"
	"github.com/stretchr/testify/require"
)

// unhex reads the notation of the draft's test vectors.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	require.NoError(t, err)
	return b
}

func scalar(t *testing.T, text string) *ristretto255.Scalar {
	t.Helper()
	s := ristretto255.NewScalar()
	require.NoError(t, s.Decode(unhex(t, text)))
	return s
}

// TestVectors checks every step against the test vectors of
// draft-irtf-cfrg-cpace, appendix "CPace using group ristretto255 and hash
// SHA-512".
func TestVectors(t *testing.T) {
	session := unhex(t, "7e4b4791d6a8ef019b936c79fb7f2c57")
	channel := concat([]byte("Ainitiator"), []byte("Bresponder"))
	// The draft's example joins the parties with single bytes of length.
	require.Equal(t, unhex(t, "0a41696e69746961746f720a42726573706f6e646572"), channel)
	g := generator([]byte("Password"), channel, session)
	require.Equal(t, unhex(t, "5e25411ca1ad7c9debfd0b33ad987a95cefef2d3f15dcc8bd26415a5dfe2e15a"), g.Encode(nil))

	ya := scalar(t, "da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08")
	yb := scalar(t, "d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d")
	shareA, err := multiply(ya, g.Encode(nil))
	require.NoError(t, err)
	require.Equal(t, unhex(t, "383a85dd236978f17f8c8545b50dabc52a39fcdab2cf8bc531ce040ff77ca82d"), shareA)
	shareB, err := multiply(yb, g.Encode(nil))
	require.NoError(t, err)
	require.Equal(t, unhex(t, "a6206309c0e8e5f579295e35997ac4300ab3fecec3c17f7b604f3e698fa1383c"), shareB)

	want := unhex(t, "fa1d0318864e2cacb26875f1b791c9ae83204fe8359addb53e95a2e98893853f")
	for _, side := range []struct {
		own   *ristretto255.Scalar
		other []byte
	}{{ya, shareB}, {yb, shareA}} {
		secretPoint, err := multiply(side.own, side.other)
		require.NoError(t, err)
		require.Equal(t, want, secretPoint)
	}
	key := sessionKey(session, want, concat(shareA, []byte("ADa")), concat(shareB, []byte("ADb")))
	require.Equal(t, unhex(t, "e91ccb2c0f5e0d0993a33956e3be59754f3f2b07db57631f5394452ea2e7b4354674eb1f5686c078462bf83bec72e8743df440108e638f3526d9b90e85be096f"), key)
}

// The draft's cases for scalar_mult_vfy: one that is valid, an encoding that is
// not canonical, and the identity.
func TestInvalidElements(t *testing.T) {
	s := scalar(t, "7cd0e075fa7955ba52c02759a6c90dbbfc10e6d40aea8d283e407d88cf538a05")
	product, err := multiply(s, unhex(t, "2c3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"))
	require.NoError(t, err)
	require.Equal(t, unhex(t, "7c13645fe790a468f62c39beb7388e541d8405d1ade69d1778c5fe3e7f6b600e"), product)
	for name, share := range map[string][]byte{
		"not canonical": unhex(t, "2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c"),
		"identity":      make([]byte, 32),
		"too short":     make([]byte, 31),
		"empty":         nil,
		"all ones":      bytes.Repeat([]byte{0xff}, 32),
	} {
		_, err := multiply(s, share)
		require.ErrorIs(t, err, errShare, name)
		_, _, err = respond("secret", testBinding(), share)
		require.ErrorIs(t, err, errShare, name)
		_, err = initiate("secret", testBinding()).confirms(share, nil)
		require.ErrorIs(t, err, errShare, name)
	}
}

func testBinding() binding {
	return binding{session: bytes.Repeat([]byte{7}, sessionSize), initiator: "manager", responder: "backend", env: "INTERNAL_API_TOKEN"}
}

func TestEqualAndDifferent(t *testing.T) {
	i := initiate("one secret", testBinding())
	share, proof, err := respond("one secret", testBinding(), i.share)
	require.NoError(t, err)
	equal, err := i.confirms(share, proof)
	require.NoError(t, err)
	require.True(t, equal)

	share, proof, err = respond("another secret", testBinding(), i.share)
	require.NoError(t, err)
	equal, err = i.confirms(share, proof)
	require.NoError(t, err)
	require.False(t, equal)
}

// An answer is good for one session, one variable, one pair of services and one
// direction, and for the share it answers.
func TestAnswersFitNoOtherExchange(t *testing.T) {
	about := testBinding()
	for name, change := range map[string]func(*binding){
		"session":  func(b *binding) { b.session = bytes.Repeat([]byte{8}, sessionSize) },
		"variable": func(b *binding) { b.env = "S3_SECRET_KEY" },
		"services": func(b *binding) { b.responder = "frontend" },
		"roles":    func(b *binding) { b.initiator, b.responder = b.responder, b.initiator },
		// The same text with another border between the parts.
		"borders": func(b *binding) { b.initiator, b.responder = "managerb", "ackend" },
	} {
		other := about
		change(&other)
		i := initiate("secret", about)
		share, proof, err := respond("secret", other, i.share)
		require.NoError(t, err)
		equal, err := i.confirms(share, proof)
		require.NoError(t, err)
		require.False(t, equal, name)
	}
	first, second := initiate("secret", about), initiate("secret", about)
	share, proof, err := respond("secret", about, first.share)
	require.NoError(t, err)
	equal, err := second.confirms(share, proof)
	require.NoError(t, err)
	require.False(t, equal, "replayed")
	// The responder's own messages turned around.
	equal, err = first.confirms(first.share, proof)
	require.NoError(t, err)
	require.False(t, equal, "reflected")
}

// Sharing nothing between calls is what keeps a second guess from being made
// with an answer to the first.
func TestEveryExchangeIsNew(t *testing.T) {
	i := initiate("secret", testBinding())
	require.NotEqual(t, i.share, initiate("secret", testBinding()).share)
	share, proof, err := respond("secret", testBinding(), i.share)
	require.NoError(t, err)
	againShare, againProof, err := respond("secret", testBinding(), i.share)
	require.NoError(t, err)
	require.NotEqual(t, share, againShare)
	require.NotEqual(t, proof, againProof)
}

// TestWrongGuessTellsNothingOffline plays who has made a wrong guess in a call,
// and then tries the right secret on what the call has brought. The
// confirmation is a MAC under a key made from yb*Ya, where Yb = yb*g(secret).
// The guesser knows ya with Ya = ya*g(guess) and so computes ya*Yb, which is
// that point for secret = guess only. For another candidate the point is the
// Diffie-Hellman value of Ya and Yb to the base g(candidate), of which the
// guesser knows no exponent: nothing that follows from the transcript, the
// candidate and ya gives the confirmation.
func TestWrongGuessTellsNothingOffline(t *testing.T) {
	about := testBinding()
	const secret, guess = "the right secret", "a wrong guess"
	i := initiate(guess, about)
	share, proof, err := respond(secret, about, i.share)
	require.NoError(t, err)
	equal, err := i.confirms(share, proof)
	require.NoError(t, err)
	require.False(t, equal)

	candidate := generator([]byte(secret), about.channel(), about.session)
	guessed := generator([]byte(guess), about.channel(), about.session)
	yb := ristretto255.NewElement()
	require.NoError(t, yb.Decode(share))
	inverse := ristretto255.NewScalar().Invert(i.scalar)
	difference := ristretto255.NewElement().Subtract(candidate, guessed)
	for name, point := range map[string]*ristretto255.Element{
		"as if the candidate had been sent":  ristretto255.NewElement().ScalarMult(i.scalar, yb),
		"the candidate's generator":          ristretto255.NewElement().ScalarMult(i.scalar, candidate),
		"the exponent undone":                ristretto255.NewElement().ScalarMult(inverse, yb),
		"both shares added":                  ristretto255.NewElement().Add(ristretto255.NewElement().ScalarMult(i.scalar, yb), difference),
		"the difference of the generators":   ristretto255.NewElement().ScalarMult(i.scalar, difference),
		"the candidate's generator as share": candidate,
	} {
		key := sessionKey(about.session, point.Encode(nil), message(i.share), message(share))
		require.NotEqual(t, proof, confirmation(key, message(share)), name)
	}
}

func TestConcatIsUnambiguous(t *testing.T) {
	require.Equal(t, unhex(t, "04313233340135000436373839"), concat([]byte("1234"), []byte("5"), nil, []byte("6789")))
	long := concat(bytes.Repeat([]byte{1}, 128))
	require.Equal(t, []byte{0x80, 0x01}, long[:2])
}

func BenchmarkExchange(b *testing.B) {
	for b.Loop() {
		i := initiate("one secret of the usual length 1", testBinding())
		share, proof, err := respond("one secret of the usual length 1", testBinding(), i.share)
		if err != nil {
			b.Fatal(err)
		}
		if equal, err := i.confirms(share, proof); err != nil || !equal {
			b.Fatal("not equal", err)
		}
	}
}
