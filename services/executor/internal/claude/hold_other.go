//go:build !linux

package claude

import "syscall"

// stopAll stops the CLI's process group; what left it is not found here.
func stopAll(cli int) []int {
	if syscall.Kill(-cli, syscall.SIGSTOP) != nil {
		return nil
	}
	return []int{-cli}
}

func continueAll(stopped []int) {
	for _, group := range stopped {
		_ = syscall.Kill(group, syscall.SIGCONT) // It may have been killed.
	}
}
