// Package e2e holds the end-to-end tests: the real programs as processes, on a
// real Postgres and a real S3 server, driving the real Claude Code CLI against
// the scripted model. Each part is killed, frozen and taken away in turn.
package e2e
