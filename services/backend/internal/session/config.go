package session

import (
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/internal/objectstore"
	"github.com/poco-ai/poco/services/internal/rpcerror"
)

// MergeConfig lays what a prompt asks for over what the session has: fields that
// are set replace, fields left out stay, maps are merged key by key. It returns
// what the session keeps, and what the run gets: the input files as well.
func MergeConfig(base, asked *backendv1.TaskConfig) (kept, forRun *backendv1.TaskConfig) {
	forRun = proto.CloneOf(base)
	forRun.InputFiles = nil
	if asked != nil {
		if asked.GetTimeout() != nil {
			forRun.Timeout = nil // a merge would mix seconds of one with nanos of the other
		}
		proto.Merge(forRun, asked)
	}
	kept = proto.CloneOf(forRun)
	kept.InputFiles = nil
	return kept, forRun
}

// CheckInputFiles refuses files that are not the user's own uploads, and links
// that lead anywhere but to GitHub.
func CheckInputFiles(userID string, files []*backendv1.InputFile) error {
	prefix := "attachments/" + objectstore.UserPart(userID) + "/"
	for i, f := range files {
		field := fmt.Sprintf("config.input_files[%d].source", i)
		if f.GetType() == "file" {
			if !strings.HasPrefix(f.GetSource(), prefix) || strings.Contains(f.GetSource(), "..") {
				return rpcerror.NotFound("attachment", f.GetSource())
			}
			continue
		}
		u, err := url.Parse(f.GetSource())
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || !strings.EqualFold(u.Hostname(), "github.com") || u.User != nil {
			return rpcerror.InvalidArgument(field, "must be the http(s) URL of a public repository on github.com")
		}
	}
	return nil
}
