package objectstore

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// plainPart is what may stand in a path or key as it is.
var plainPart = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// UserPart turns a user id into a part of a path or key: itself when it matches
// [a-z0-9][a-z0-9_-]{0,62}, else a hash.
func UserPart(userID string) string {
	if plainPart.MatchString(userID) {
		return userID
	}
	sum := sha256.Sum256([]byte(userID))
	// "~" cannot begin a plain part, so no id can pass for another's hash.
	return "~" + hex.EncodeToString(sum[:16])
}

// What keys of exports, of snapshots and of uploads begin with, no matter whose they
// are.
const (
	Workspaces  = "workspaces/"
	Snapshots   = "private/snapshots/"
	Attachments = "attachments/"
)

// SnapshotPrefix is what the keys of a session's private snapshots begin with.
// No public RPC lists or signs anything below "private/".
func SnapshotPrefix(userID, sessionID string) string {
	return Snapshots + UserPart(userID) + "/" + sessionID + "/"
}

// WorkspacePrefix is what the keys of a session's public export begin with.
func WorkspacePrefix(userID, sessionID string) string {
	return Workspaces + UserPart(userID) + "/" + sessionID + "/"
}

// AttachmentPrefix is what the keys of a user's uploads begin with.
func AttachmentPrefix(userID string) string { return Attachments + UserPart(userID) + "/" }
