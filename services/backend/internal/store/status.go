package store

import (
	"strings"

	"github.com/poco-ai/poco/db/dbtype"
	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// The database has the names of the API's enum values, in lower case and
// without the prefix; unspecified is the empty string.

func text(name, prefix string) string {
	t := strings.ToLower(strings.TrimPrefix(name, prefix))
	if t == "unspecified" {
		return ""
	}
	return t
}

func number[T ~string](values map[string]int32, prefix string, text T) int32 {
	return values[prefix+strings.ToUpper(string(text))]
}

// RunStatusText names a run state as the database does.
func RunStatusText(s backendv1.RunStatus) dbtype.RunStatus {
	return dbtype.RunStatus(text(s.String(), "RUN_STATUS_"))
}

// RunStatus is the inverse of RunStatusText.
func RunStatus(t dbtype.RunStatus) backendv1.RunStatus {
	return backendv1.RunStatus(number(backendv1.RunStatus_value, "RUN_STATUS_", t))
}

// RunReasonText names a reason as the database does; one of a later version is
// none.
func RunReasonText(r backendv1.RunReason) string {
	if _, known := backendv1.RunReason_name[int32(r)]; !known {
		return ""
	}
	return text(r.String(), "RUN_REASON_")
}

// RunReason is the inverse of RunReasonText.
func RunReason(t string) backendv1.RunReason {
	return backendv1.RunReason(number(backendv1.RunReason_value, "RUN_REASON_", t))
}

// SessionStatus returns the API's value of a session state.
func SessionStatus(t dbtype.SessionStatus) backendv1.SessionStatus {
	return backendv1.SessionStatus(number(backendv1.SessionStatus_value, "SESSION_STATUS_", t))
}

// ExportStatus returns the API's value of an export state.
func ExportStatus(t dbtype.ExportStatus) backendv1.ExportStatus {
	return backendv1.ExportStatus(number(backendv1.ExportStatus_value, "EXPORT_STATUS_", t))
}

// ExportStatusText is the inverse of ExportStatus.
func ExportStatusText(s backendv1.ExportStatus) dbtype.ExportStatus {
	return dbtype.ExportStatus(text(s.String(), "EXPORT_STATUS_"))
}

// InputStatus returns the API's value of a question's state.
func InputStatus(t dbtype.InputStatus) backendv1.UserInputStatus {
	return backendv1.UserInputStatus(number(backendv1.UserInputStatus_value, "USER_INPUT_STATUS_", t))
}

// InputStatusText is the inverse of InputStatus.
func InputStatusText(s backendv1.UserInputStatus) dbtype.InputStatus {
	return dbtype.InputStatus(text(s.String(), "USER_INPUT_STATUS_"))
}
