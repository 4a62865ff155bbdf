package config

import (
	"context"
	"log/slog"
	"strings"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
)

// Codes of findings. Rules of the schema add their own: see adviceRule.
const (
	// FindingInsecureDefault: the value in use is fit for development only.
	FindingInsecureDefault = "insecure_default"
	// FindingWeakSecret: the secret in use can be guessed.
	FindingWeakSecret = "weak_secret"
	// FindingSecretSpaces: the secret in use begins or ends with a space.
	FindingSecretSpaces = "secret_spaces"
	// FindingFilePermissions: others have access to a secret's file.
	FindingFilePermissions = "file_permissions"
	// FindingAliasUsed: the setting is set under another name.
	FindingAliasUsed = "alias_used"
	// FindingNoEffect: the setting is set, and its feature does not exist.
	FindingNoEffect = "no_effect"
	// FindingDuplicate: the setting is set several times in one file.
	FindingDuplicate = "duplicate"
	// FindingLostReference: the .env file's notation took a part of the value.
	FindingLostReference = "lost_reference"
	// FindingRestartPending: the source has changed and the change is not in force.
	FindingRestartPending = "restart_pending"
	// FindingReloadRefused: the sources have changed to what a start would refuse.
	FindingReloadRefused = "reload_refused"
	// FindingUnusableProxy: a variable that names proxies, or exceptions from them,
	// has something that nobody can use.
	FindingUnusableProxy = "unusable_proxy"
	// FindingUnknownVariable: nobody reads the variable.
	FindingUnknownVariable = "unknown_variable"
	// FindingOtherService: only services that were not asked about read the
	// variable.
	FindingOtherService = "other_service"
)

// severity is how much a finding matters.
func severity(code string) configv1.ConfigSeverity {
	switch code {
	case FindingAliasUsed, FindingOtherService:
		return configv1.ConfigSeverity_CONFIG_SEVERITY_INFO
	default:
		return configv1.ConfigSeverity_CONFIG_SEVERITY_WARNING
	}
}

func newFinding(code, env, message string) *configv1.ConfigFinding {
	return &configv1.ConfigFinding{Code: code, Env: env, Message: message, Severity: severity(code)}
}

// LogFindings logs what an operator should know, one line each.
func LogFindings(logger *slog.Logger, report *configv1.GetConfigResponse) {
	for _, f := range report.GetFindings() {
		level := slog.LevelWarn
		if f.GetSeverity() == configv1.ConfigSeverity_CONFIG_SEVERITY_INFO {
			level = slog.LevelInfo
		}
		logger.Log(context.Background(), level, "configuration: "+strings.TrimSpace(f.GetEnv()+" "+f.GetMessage()), "code", f.GetCode(), "env", f.GetEnv())
	}
}
