// Package disk knows a full disk from other trouble: bookkeeping then gives way,
// so that an agent can clean up.
package disk

import (
	"errors"
	"syscall"
)

// Full tells whether an error means that there is no space, or no more of it for
// this user.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
