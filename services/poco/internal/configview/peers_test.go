package configview_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/poco/internal/configview"
)

// TestVerdict: what could not be compared is not said to differ, and not to
// agree either.
func TestVerdict(t *testing.T) {
	const must, should = configv1.Agreement_AGREEMENT_MUST, configv1.Agreement_AGREEMENT_SHOULD
	type check = configv1.PeerCheck
	for name, c := range map[string]struct {
		peer               *configv1.PeerReport
		broken, uncompared bool
	}{
		"equal":              {&configv1.PeerReport{Checks: []*check{{Agreement: must, Result: configv1.PeerResult_PEER_RESULT_EQUAL}}}, false, false},
		"different":          {&configv1.PeerReport{Checks: []*check{{Agreement: must, Result: configv1.PeerResult_PEER_RESULT_DIFFERENT}}}, true, false},
		"unset there":        {&configv1.PeerReport{Checks: []*check{{Agreement: must, Result: configv1.PeerResult_PEER_RESULT_UNSET_THERE}}}, true, false},
		"different, allowed": {&configv1.PeerReport{Checks: []*check{{Agreement: should, Result: configv1.PeerResult_PEER_RESULT_DIFFERENT}}}, false, false},
		"too short":          {&configv1.PeerReport{Checks: []*check{{Agreement: must, Result: configv1.PeerResult_PEER_RESULT_TOO_SHORT}}}, false, true},
		"too short, allowed": {&configv1.PeerReport{Checks: []*check{{Agreement: should, Result: configv1.PeerResult_PEER_RESULT_TOO_SHORT}}}, false, false},
		"unreachable":        {&configv1.PeerReport{Error: "the connection is refused"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			response := &configv1.CheckPeersResponse{Peers: []*configv1.PeerReport{c.peer}}
			require.Equal(t, c.broken, configview.Broken(response))
			require.Equal(t, c.uncompared, configview.Uncompared(response))
		})
	}
}
