package store

import (
	"crypto/sha256"
	"fmt"
)

// maxToolUseID is how long an id may be to be kept as it is: it is in an index,
// which takes no long values.
const maxToolUseID = 256

// ToolUseID is what a call of a tool is known by; the model may give any id.
func ToolUseID(given string) string {
	if len(given) <= maxToolUseID {
		return given
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(given)))
}
