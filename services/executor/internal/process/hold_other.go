//go:build !linux

package process

import "syscall"

// stopAll stops the agent's process group; what left it is not found here.
func stopAll(root int) []int {
	if syscall.Kill(-root, syscall.SIGSTOP) != nil {
		return nil
	}
	return []int{-root}
}

func continueAll(stopped []int) {
	for _, group := range stopped {
		_ = syscall.Kill(group, syscall.SIGCONT) // It may have been killed.
	}
}
