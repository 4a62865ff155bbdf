package configview_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/poco/internal/configview"
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
