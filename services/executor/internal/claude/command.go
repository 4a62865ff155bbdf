package claude

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/uuid"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// arguments builds the CLI's command line.
func arguments(o *Options, files settingFiles) []string {
	args := []string{
		"--output-format", "stream-json", "--input-format", "stream-json", "--verbose",
		"--include-partial-messages", "--permission-prompt-tool", "stdio",
		"--setting-sources", "user,project", "--managed-settings", managedSettings(o.Model), "--settings", flagSettings,
		// The servers of a run are those that were chosen for it.
		"--strict-mcp-config",
		// The run ends, and what was planned for later would not happen.
		"--disallowedTools", "CronCreate,CronDelete,CronList,ScheduleWakeup",
	}
	option := func(name, value string) {
		if value != "" {
			args = append(args, name, value)
		}
	}
	option("--model", o.Model)
	option("--permission-mode", permissionWord(o.PermissionMode))
	option("--resume", conversation(o))
	option("--mcp-config", files.mcp)
	option("--append-system-prompt-file", files.instructions)
	if o.MaxTurns > 0 {
		args = append(args, "--max-turns", strconv.Itoa(int(o.MaxTurns)))
	}
	if o.MaxCostUSD > 0 {
		args = append(args, "--max-budget-usd", strconv.FormatFloat(o.MaxCostUSD, 'f', -1, 64))
	}
	return args
}

// permissionWord is the CLI's word for a permission mode.
func permissionWord(mode backendv1.PermissionMode) string {
	switch mode {
	case backendv1.PermissionMode_PERMISSION_MODE_PLAN:
		return planMode
	case backendv1.PermissionMode_PERMISSION_MODE_ACCEPT_EDITS:
		return "acceptEdits"
	default:
		return "default"
	}
}

// conversation names what is to be resumed: its transcript where there is one.
// By its id alone the CLI finds it only from the folder it was begun in, and a
// workspace may be in another one now: restored by another manager, or mounted
// by another runtime.
func conversation(o *Options) string {
	if _, err := uuid.Parse(o.ResumeID); err != nil {
		return o.ResumeID
	}
	found, err := fs.Glob(os.DirFS(o.StateDir), "projects/*/"+o.ResumeID+".jsonl")
	if err != nil || len(found) == 0 {
		return o.ResumeID
	}
	return filepath.Join(o.StateDir, found[0])
}

// environment builds the CLI's environment: the run's variables, and above them
// what Poco decides. It tells which of the run's are left out.
func environment(o *Options) (env, ignored []string) {
	env, ignored = o.Variables(own...)
	env = append(env,
		hostManaged, fixedEnvironment,
		"CLAUDE_CONFIG_DIR="+o.StateDir,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
		// By it the end of a turn is told from the end of the work, see work.
		"CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS=1",
		"CLAUDE_CODE_DISABLE_CRON=1",
		// What was said is on the disk before the model sees it, see Took.
		"CLAUDE_CODE_EAGER_FLUSH=1",
		"CLAUDE_CODE_ENTRYPOINT=poco",
		"DISABLE_AUTOUPDATER=1",
		"DISABLE_TELEMETRY=1",
		"DISABLE_ERROR_REPORTING=1",
	)
	if o.BaseURL != "" {
		env = append(env, "ANTHROPIC_BASE_URL="+o.BaseURL)
	}
	if o.Token != "" {
		env = append(env, "ANTHROPIC_AUTH_TOKEN="+o.Token)
	}
	if os.Geteuid() == 0 {
		// The CLI refuses to run as root anywhere else.
		env = append(env, "IS_SANDBOX=1")
	}
	return guard(env), ignored
}
