package configview_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/poco/internal/configdiff"
	"github.com/poco-ai/poco/services/poco/internal/configview"
	"github.com/poco-ai/poco/services/poco/internal/fleet"
	"github.com/poco-ai/poco/services/poco/internal/terminal"
)

func column(title, value string, source configv1.ConfigSource, notes ...string) configview.Column {
	report := &configv1.GetConfigResponse{Service: title, Fields: []*configv1.ConfigField{
		{Env: "COMMON", Value: value, IsSet: true, Source: source},
		{Env: "OF_THE_" + strings.ToUpper(title), Required: true, Secret: true, IsSet: true, Source: configv1.ConfigSource_CONFIG_SOURCE_FILE, InsecureDefault: true},
	}}
	for _, message := range notes {
		report.Findings = append(report.Findings, &configv1.ConfigFinding{Env: "COMMON", Message: message, Severity: configv1.ConfigSeverity_CONFIG_SEVERITY_WARNING})
	}
	return configview.Column{Title: title, Report: report}
}

func TestServicesStandSideBySideWhereThereIsRoom(t *testing.T) {
	columns := []configview.Column{
		column("backend", "one", configv1.ConfigSource_CONFIG_SOURCE_ENVIRONMENT),
		column("manager", "two\x1b[2J", configv1.ConfigSource_CONFIG_SOURCE_DEFAULT),
	}
	for width, want := range map[int]string{
		0: `VARIABLE        BACKEND        FROM         MANAGER        FROM     NOTE
COMMON          one            environment  two            default
OF_THE_BACKEND  (set, secret)  file         –                       insecure (backend)
OF_THE_MANAGER  –                           (set, secret)  file     insecure (manager)
`,
		60: `VARIABLE        BACKEND        FROM         NOTE
COMMON          one            environment
OF_THE_BACKEND  (set, secret)  file         insecure

VARIABLE        MANAGER        FROM  NOTE
OF_THE_MANAGER  (set, secret)  file  insecure
`,
	} {
		var out strings.Builder
		require.NoError(t, configview.Screen{Out: &out, Width: width}.Table(columns, configview.Told))
		require.Equal(t, want, out.String(), "width %d", width)
	}
}

func TestWhatServicesSayAlikeIsSaidOnce(t *testing.T) {
	var out strings.Builder
	configview.Screen{Out: &out}.Findings([]configview.Column{
		column("backend", "", configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, "is odd", "is\x1b[31m hostile"),
		column("manager", "", configv1.ConfigSource_CONFIG_SOURCE_DEFAULT, "is odd"),
	}, []*configv1.ConfigFinding{{Env: "STRAY", Message: "is read by nobody", Severity: configv1.ConfigSeverity_CONFIG_SEVERITY_INFO}})
	require.Equal(t, `
FINDINGS
warning  COMMON is odd (backend, manager)
warning  COMMON is hostile (backend)
info     STRAY is read by nobody
`, out.String())
}

func TestOutputHasNothingThatATerminalActsOn(t *testing.T) {
	const hostile = "a\x1b]0;t\ab\u009b31mc\u202ed\x7f\u2066\U000E0001\nforged"
	field := &configv1.ConfigField{Env: hostile, Value: hostile, Secret: true, IsSet: true}
	var out strings.Builder
	screen := configview.Screen{Out: &out}
	require.NoError(t, screen.Differences(hostile, hostile, []configdiff.Difference{
		{Env: hostile, Left: field, Right: field},
		{Env: hostile, Left: field, Result: configv1.PeerResult_PEER_RESULT_DIFFERENT},
	}))
	require.NoError(t, screen.Table([]configview.Column{{Title: hostile, Report: &configv1.GetConfigResponse{
		Fields: []*configv1.ConfigField{field}, Findings: []*configv1.ConfigFinding{{Message: hostile}},
	}}}, configview.All))
	text := out.String()
	require.Contains(t, text, "abcd")
	require.NotContains(t, text, "\nforged")
	require.Equal(t, terminal.Clean(text), text)

	out.Reset()
	require.NoError(t, configview.RepliesJSON(&out, []fleet.Answer{{Report: &configv1.GetConfigResponse{Version: hostile}}}))
	require.Equal(t, terminal.Clean(out.String()), out.String())
	require.NotContains(t, out.String(), "\U000E0001")
	var document struct {
		Services []struct{ Report struct{ Version string } }
	}
	require.NoError(t, json.Unmarshal([]byte(out.String()), &document))
	require.Equal(t, hostile, document.Services[0].Report.Version)
}
