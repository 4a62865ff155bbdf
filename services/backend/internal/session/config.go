package session

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/agents"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/repourl"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// MergeConfig lays what a prompt asks for over what the session has: fields that
// are set replace, fields left out stay, maps are merged key by key. It returns
// what the session keeps, and what the run gets: the input files as well. What
// grows from prompt to prompt may not grow beyond what one prompt may ask for.
func MergeConfig(base, asked *backendv1.TaskConfig) (kept, forRun *backendv1.TaskConfig, err error) {
	forRun = proto.CloneOf(base)
	forRun.InputFiles = nil
	if asked != nil {
		if asked.GetTimeout() != nil {
			forRun.Timeout = nil // a merge would mix seconds of one with nanos of the other
		}
		if asked.GetModel() == "" && agents.Of(asked) != agents.Of(base) && asked.Agent != nil {
			forRun.Model = nil // it is the other agent's
		}
		proto.Merge(forRun, asked)
	}
	kept = proto.CloneOf(forRun)
	kept.InputFiles = nil
	if err := errors.Join(checkInstalls("config.mcp_config", "MCP server", asked.GetMcpConfig()),
		checkInstalls("config.skill_config", "skill", asked.GetSkillConfig())); err != nil {
		return nil, nil, err
	}
	if name := agents.Of(forRun); !agents.Known(name) {
		return nil, nil, rpcerror.InvalidArgument("config.agent", fmt.Sprintf("names %q, and the agents are: %s", name, agents.List()))
	}
	if err := checkRepository(forRun); err != nil {
		return nil, nil, err
	}
	return kept, forRun, validate(forRun)
}

// CheckBranch refuses another branch for a repository that the session has
// cloned: what is in the workspace stays as it is.
func CheckBranch(base, asked *backendv1.TaskConfig) error {
	if asked.GitBranch == nil || asked.GetGitBranch() == base.GetGitBranch() || base.GetRepoUrl() == "" ||
		asked.RepoUrl != nil && asked.GetRepoUrl() != base.GetRepoUrl() {
		return nil
	}
	return rpcerror.InvalidArgument("config.git_branch",
		"differs from the one that the session's repository was cloned with, and what is checked out would stay: ask the agent to switch, or start a new session")
}

// checkInstalls refuses to switch on what nobody can have installed: the run
// would go without it and not say so.
func checkInstalls(field, what string, config map[string]bool) error {
	for _, id := range slices.Sorted(maps.Keys(config)) {
		if config[id] {
			return rpcerror.InvalidArgument(field, fmt.Sprintf("names %q, and no %s is installed under that id: leave it out", id, what))
		}
	}
	return nil
}

// checkRepository refuses a repository that no executor could clone.
func checkRepository(cfg *backendv1.TaskConfig) error {
	if url := cfg.GetRepoUrl(); url != "" {
		if _, err := repourl.Parse(url); err != nil {
			return rpcerror.InvalidArgument("config.repo_url", err.Error())
		}
	}
	if branch := cfg.GetGitBranch(); branch != "" {
		if cfg.GetRepoUrl() == "" {
			return rpcerror.InvalidArgument("config.git_branch", "needs config.repo_url: there is no repository to check it out of")
		}
		if err := repourl.CheckBranch(branch); err != nil {
			return rpcerror.InvalidArgument("config.git_branch", err.Error())
		}
	}
	return nil
}

// shown is a config as answers show it: without the credentials of its
// repository.
func shown(cfg *backendv1.TaskConfig) *backendv1.TaskConfig {
	if cfg.GetRepoUrl() != "" {
		cfg.RepoUrl = proto.String(repourl.Redact(cfg.GetRepoUrl()))
	}
	return cfg
}

// validate applies the rules of the request to a merged config.
func validate(cfg *backendv1.TaskConfig) error {
	err := protovalidate.Validate(cfg)
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	var fields []rpcerror.FieldViolation
	for _, v := range invalid.Violations {
		fields = append(fields, rpcerror.FieldViolation{
			Field: "config." + protovalidate.FieldPathString(v.Proto.GetField()), Description: v.Proto.GetMessage() + ", together with the session's",
		})
	}
	return rpcerror.InvalidFields(fields...)
}

// maxNameBytes is what file systems take for one name.
const maxNameBytes = 255

// inputPath tells whether an input file's path stays below inputs/.
func inputPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if len(part) > maxNameBytes {
			return false
		}
	}
	return localPath(path) && !strings.ContainsFunc(path, unicode.IsControl)
}

// Attachments returns the object keys of the files that were uploaded.
func Attachments(files []*backendv1.InputFile) []string {
	var keys []string
	for _, f := range files {
		if key := f.GetAttachment(); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// CheckInputFiles refuses files that are not the user's own uploads, paths that
// lead out of the folder for inputs, and what is no URL to fetch. Where one may
// lead is for the manager to say, which fetches it.
func CheckInputFiles(userID string, files []*backendv1.InputFile) error {
	prefix := objectstore.AttachmentPrefix(userID)
	for i, f := range files {
		field := func(name string) string { return fmt.Sprintf("config.input_files[%d].%s", i, name) }
		path, fetched := cmp.Or(f.GetPath(), f.GetName()), f.GetUrl() != ""
		if !inputPath(path) && (path != "" || !fetched) {
			return rpcerror.InvalidArgument(field("path"), "must be a relative path below inputs/")
		}
		if !fetched {
			if !strings.HasPrefix(f.GetAttachment(), prefix) || !objectstore.ValidKey(f.GetAttachment()) {
				return rpcerror.NotFound("attachment", f.GetAttachment())
			}
			continue
		}
		u, err := url.Parse(f.GetUrl())
		switch {
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
			return rpcerror.InvalidArgument(field("url"), "must be an http:// or https:// URL")
		case u.User != nil:
			return rpcerror.InvalidArgument(field("url"), "must not have a user or password: it is listed with the run")
		case strings.HasSuffix(strings.TrimRight(u.Path, "/"), ".git") && !strings.EqualFold(u.Hostname(), "github.com"):
			return rpcerror.InvalidArgument(field("url"), "is a Git repository: set config.repo_url to it, to have it cloned")
		}
	}
	return nil
}
