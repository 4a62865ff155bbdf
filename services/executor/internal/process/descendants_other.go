//go:build !linux

package process

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// AdoptOrphans does nothing here: only Linux hands orphans to an ancestor.
func AdoptOrphans() error { return nil }

func Descendants(int) []int  { return nil }
func killAll([]int)          {}
func killOrphans()           {}
func LeftBehind() []Leftover { return nil }
func AwaitExit(int)          {}
