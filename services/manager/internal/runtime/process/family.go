package process

import (
	"context"
	"errors"
	"fmt"
)

// errNoProcess means that there is no such process (any more), or that its
// number belongs to another one by now.
var errNoProcess = errors.New("no such process")

// procInfo is what is known about one process of this machine.
type procInfo struct {
	pid, parent, session int
	identity             string
}

// family is an executor and all that it started, however deep and however
// detached: what is in its session, what has its marker in the environment, and
// all descendants of those.
type family struct {
	// leader is the executor's process number, 0 when it was gone before it was
	// looked at; then its number may be another's by now and says nothing.
	leader   int
	identity string
	marker   string
	// leaderToo counts the executor itself in.
	leaderToo bool
}

// members finds the living ones.
func (f family) members() ([]procInfo, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	leader := f.leader
	for _, p := range all {
		if p.pid == leader && p.identity != f.identity {
			leader = 0 // a number is only given anew when its session is empty
		}
	}
	in := map[int]bool{}
	for _, p := range all {
		if leader != 0 && (p.pid == leader || p.session == leader) || hasMarker(p.pid, f.marker) {
			in[p.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if !in[p.pid] && in[p.parent] {
				in[p.pid], grown = true, true
			}
		}
	}
	var members []procInfo
	for _, p := range all {
		if in[p.pid] && (p.pid != leader || f.leaderToo) {
			members = append(members, p)
		}
	}
	return members, nil
}

// kill kills all members and waits until they are gone. It looks again until it
// finds none, because a process may start another while it is being killed.
func (f family) kill(ctx context.Context) error {
	for {
		members, err := f.members()
		if err != nil || len(members) == 0 {
			return err
		}
		if err := killAll(ctx, members); err != nil {
			return err
		}
	}
}

func killAll(ctx context.Context, members []procInfo) error {
	var killed []*proc
	defer func() {
		for _, p := range killed {
			p.close()
		}
	}()
	for _, m := range members {
		p, err := openProc(m.pid, m.identity)
		if errors.Is(err, errNoProcess) {
			continue
		}
		if err != nil {
			return err
		}
		killed = append(killed, p)
		if err := p.signal(sigKill); err != nil && !errors.Is(err, errNoProcess) {
			return fmt.Errorf("kill process %d: %w", m.pid, err)
		}
	}
	for _, p := range killed {
		if err := p.wait(ctx); err != nil {
			return fmt.Errorf("process %d does not end: %w", p.pid, err)
		}
	}
	return nil
}
