package configview

import (
	"fmt"
	"slices"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Broken tells whether something that has to agree does not.
func Broken(response *configv1.CheckPeersResponse) bool {
	return slices.ContainsFunc(response.GetPeers(), func(peer *configv1.PeerReport) bool {
		return slices.ContainsFunc(peer.GetChecks(), isBroken)
	})
}

// Uncompared tells whether a peer could not be asked, or something that has to
// agree could not be compared.
func Uncompared(response *configv1.CheckPeersResponse) bool {
	return slices.ContainsFunc(response.GetPeers(), func(peer *configv1.PeerReport) bool {
		return peer.GetError() != "" || slices.ContainsFunc(peer.GetChecks(), isUncompared)
	})
}

func isUncompared(check *configv1.PeerCheck) bool {
	switch check.GetResult() {
	case configv1.PeerResult_PEER_RESULT_TOO_SHORT, configv1.PeerResult_PEER_RESULT_UNKNOWN:
		return check.GetAgreement() == configv1.Agreement_AGREEMENT_MUST
	default:
		return false
	}
}

// isBroken tells whether something that has to agree does not.
func isBroken(check *configv1.PeerCheck) bool {
	switch check.GetResult() {
	case configv1.PeerResult_PEER_RESULT_DIFFERENT, configv1.PeerResult_PEER_RESULT_UNSET_HERE, configv1.PeerResult_PEER_RESULT_UNSET_THERE:
		return check.GetAgreement() == configv1.Agreement_AGREEMENT_MUST
	default:
		return false
	}
}

// Peers writes how a service gets on with its peers: what does not agree first.
func (s Screen) Peers(title string, response *configv1.CheckPeersResponse) {
	if len(response.GetPeers()) == 0 {
		fmt.Fprintln(s.Out, s.Style.Bold(terminal.OneLine(title))+" has been given no peers")
	}
	for _, peer := range response.GetPeers() {
		head := title
		if peer.GetService() != response.GetService() {
			head += " and the " + peer.GetService() + " of its " + peer.GetEnv()
		}
		fmt.Fprintln(s.Out, s.Style.Bold(terminal.OneLine(head)))
		if peer.GetError() != "" {
			s.result(s.Style.Bad, "UNKNOWN", "the "+peer.GetService()+" cannot be asked: "+peer.GetError())
		}
		// Equal values need no words, what is found out in another way does.
		var equal []string
		for _, check := range peer.GetChecks() {
			if isEqual(check) && check.GetEnv() != "" && peer.GetService() != response.GetService() {
				equal = append(equal, check.GetEnv())
				continue
			}
			text := check.GetMessage()
			if check.GetEnv() != "" {
				text = check.GetEnv() + ": " + text
			}
			s.result(s.look(check), resultWords(check.GetResult()), text)
		}
		if len(equal) > 0 {
			s.result(s.Style.Good, "equal", strings.Join(equal, ", "))
		}
	}
}

func isEqual(check *configv1.PeerCheck) bool {
	return check.GetResult() == configv1.PeerResult_PEER_RESULT_EQUAL
}

// result writes one result with what it is about.
func (s Screen) result(look func(string) string, word, text string) {
	for i, line := range wrap(terminal.Clean(text), s.Width-labelWidth-2) {
		if i > 0 {
			word = ""
		}
		fmt.Fprintf(s.Out, "  %s%s\n", look(fmt.Sprintf("%-*s", labelWidth, word)), line)
	}
}

func (s Screen) look(check *configv1.PeerCheck) func(string) string {
	switch {
	case isEqual(check):
		return s.Style.Good
	case isBroken(check):
		return s.Style.Bad
	default:
		return s.Style.Warn
	}
}

func resultWords(result configv1.PeerResult) string {
	switch result {
	case configv1.PeerResult_PEER_RESULT_EQUAL:
		return "equal"
	case configv1.PeerResult_PEER_RESULT_DIFFERENT:
		return "DIFFERENT"
	case configv1.PeerResult_PEER_RESULT_UNSET_HERE:
		return "unset here"
	case configv1.PeerResult_PEER_RESULT_UNSET_THERE:
		return "unset there"
	case configv1.PeerResult_PEER_RESULT_UNSET_BOTH:
		return "unset"
	case configv1.PeerResult_PEER_RESULT_TOO_SHORT:
		return "too short"
	default:
		return "unknown"
	}
}
