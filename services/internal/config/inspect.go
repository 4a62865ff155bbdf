package config

import "google.golang.org/protobuf/proto"

// Inspect reads what Load reads, and returns it together with what is wrong with
// it, where Load would refuse it. It is for explaining settings, not for running
// on them: a setting with a problem has no value in the message.
func Inspect[T proto.Message](msg T, service string, src Sources) (*Loaded[T], []Problem) {
	src = src.clone()
	r := read(msg, service, src)
	return newLoaded(r, service, src), r.problems.List
}
