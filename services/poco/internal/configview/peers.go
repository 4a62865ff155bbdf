package configview

import (
	"fmt"
	"slices"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

// Agree tells whether all that has to agree does, and all peers could be asked.
func Agree(response *configv1.CheckPeersResponse) bool {
	for _, peer := range response.GetPeers() {
		if peer.GetError() != "" || slices.ContainsFunc(peer.GetChecks(), isBroken) {
			return false
		}
	}
	return true
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

// Peers writes how a service gets on with its peers.
func (s Screen) Peers(title string, response *configv1.CheckPeersResponse) error {
	fmt.Fprintln(s.Out, s.Style.Bold(terminal.Clean(title)))
	if len(response.GetPeers()) == 0 {
		fmt.Fprintln(s.Out, "has no peers.")
	}
	for _, peer := range response.GetPeers() {
		line := "and the " + peer.GetService()
		if peer.GetEnv() != "" {
			line += " at its " + peer.GetEnv()
		}
		if peer.GetService() == response.GetService() {
			line = "alone"
		}
		if peer.GetError() != "" {
			line += ": " + s.Style.Bad(terminal.Clean(peer.GetError()))
		}
		fmt.Fprintln(s.Out, line)
		if len(peer.GetChecks()) == 0 {
			continue
		}
		table := &terminal.Table{Head: []string{"RESULT", "SETTING", "WHAT IT MEANS"}, Flexible: []bool{false, false, true}}
		for _, check := range peer.GetChecks() {
			table.Add(terminal.Cell{Text: resultWords(check.GetResult()), Look: s.resultLook(check)},
				terminal.Cell{Text: settingWords(check)}, terminal.Cell{Text: check.GetMessage()})
		}
		if err := table.Write(s.Out, s.Width, s.Style); err != nil {
			return err
		}
	}
	return nil
}

func (s Screen) resultLook(check *configv1.PeerCheck) func(string) string {
	switch {
	case isBroken(check):
		return s.Style.Bad
	case check.GetResult() == configv1.PeerResult_PEER_RESULT_EQUAL:
		return s.Style.Good
	default:
		return s.Style.Warn
	}
}

// settingWords names what was compared; what is no setting has no name.
func settingWords(check *configv1.PeerCheck) string {
	if check.GetEnv() == "" {
		return absent
	}
	return check.GetEnv()
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
