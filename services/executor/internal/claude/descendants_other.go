//go:build !linux

package claude

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// AdoptOrphans does nothing here: only Linux hands orphans to an ancestor.
func AdoptOrphans() error { return nil }

func descendants(int) []int  { return nil }
func killAll([]int)          {}
func killOrphans()           {}
func leftBehind() []leftover { return nil }
func awaitExit(int)          {}
