// Package benchmark measures the backend beside others that do a part of what it
// does, in one process and on one Postgres: River for the queue, a plain INSERT
// and a design of one request per event for events, a bare Connect server for
// calls. It has benchmarks alone, so that nothing that is shipped needs the others.
package benchmark
