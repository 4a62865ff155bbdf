//go:build !linux

package process

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// AdoptOrphans does nothing here: only Linux hands orphans to an ancestor.
func AdoptOrphans() error { return nil }

// Descendants finds none here.
func Descendants(int) []int { return nil }

// State knows none here.
func State(int) string { return "" }

func killAll([]int) {}
func killOrphans()  {}

// LeftBehind finds none here.
func LeftBehind() []Leftover { return nil }

// AwaitExit waits for none here.
func AwaitExit(int) {}
