package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// action is one step of the plan: a fault begins, or is over.
type action struct {
	at   time.Duration
	what string
	do   func()
}

// fault is something that is done to a target, and taken back later.
type fault struct {
	name   string
	target string
	// least and most bound how long it lasts.
	least, most time.Duration
	begin, end  func()
}

const (
	// faultGap is the longest pause between the beginnings of two faults.
	faultGap = 900 * time.Millisecond
	// recovery is how long a target is left alone after a fault.
	recovery = 1500 * time.Millisecond
	// shortly is how long an outage may last that no lease may run out in, even
	// on a busy machine; for long is more than any lease.
	shortly = stormLease / 4
	forLong = 2 * stormLease
)

// planFaults draws faults: what, when and for how long depends on the random
// numbers alone. A target has one fault at a time; several targets may be out
// at once.
func planFaults(s *storm, rng *rand.Rand, count int) []action {
	groups := [][]fault{s.serverFaults(), s.managerFaults(), s.sessionFaults()}
	free := map[string]time.Duration{} // when a target may be hit again
	var plan []action
	now := 500 * time.Millisecond
	for range count {
		now += time.Duration(rng.Int64N(int64(faultGap)))
		group := groups[rng.IntN(len(groups))]
		f := group[rng.IntN(len(group))]
		for free[f.target] > now {
			now += 10 * time.Millisecond
			f = group[rng.IntN(len(group))]
		}
		lasts := f.least
		if f.most > f.least {
			lasts += time.Duration(rng.Int64N(int64(f.most - f.least)))
		}
		free[f.target] = now + lasts + recovery
		what := fmt.Sprintf("%s: %s", f.target, f.name)
		if lasts > 0 {
			what += fmt.Sprintf(" for %s", lasts.Round(time.Millisecond))
		}
		plan = insert(plan, action{now, what, f.begin})
		if f.end != nil {
			plan = insert(plan, action{now + lasts, fmt.Sprintf("%s: back from %s", f.target, f.name), f.end})
		}
	}
	return plan
}

// insert keeps the plan in order.
func insert(plan []action, a action) []action {
	i := len(plan)
	for i > 0 && plan[i-1].at > a.at {
		i--
	}
	return append(plan[:i], append([]action{a}, plan[i:]...)...)
}

// serverFaults are those of the backend and what it stands on.
func (s *storm) serverFaults() []fault {
	return []fault{
		{"killed", "backend", 0, stormLease / 2, s.backend.kill, s.backend.launch},
		{"killed", "backend", stormLease, stormLease * 3 / 2, s.backend.kill, s.backend.launch},
		{"restarted", "backend", 0, 0, s.asked(s.backend), s.backend.launch},
		{"frozen", "backend", 0, stormLease * 3 / 2, s.backend.freeze, s.backend.wake},
		{"crashed", "postgres", 0, stormLease, s.crashPostgres, s.startPostgres},
		{"stopped", "s3", 0, stormLease, s.stopS3, s.startS3},
	}
}

func (s *storm) managerFaults() []fault {
	var faults []fault
	for i, m := range s.managers {
		name := "manager " + strconv.Itoa(i+1)
		faults = append(faults,
			s.brief(m, fault{"killed", name, 0, shortly, m.kill, m.launch}),
			fault{"killed", name, stormLease, forLong, s.losing(m, "killed for longer than its lease", m.kill), m.launch},
			fault{"restarted", name, 0, 0, s.asked(m), m.launch},
			s.brief(m, fault{"frozen", name, 0, shortly, m.freeze, m.wake}),
			fault{"frozen", name, stormLease, forLong, s.losing(m, "frozen for longer than its lease", m.freeze), m.wake},
		)
	}
	return faults
}

// sessionFaults are those of an executor and of what it drives.
func (s *storm) sessionFaults() []fault {
	var faults []fault
	for i := range stormSessions {
		// Looked up when it happens: the people come later.
		person := func() *person { return s.people[i] }
		name := "session " + strconv.Itoa(i)
		faults = append(faults,
			fault{"executor killed", name, 0, 0, func() { s.hit(person(), "its executor was killed", syscall.SIGKILL, s.executors) }, nil},
			fault{"CLI killed", name, 0, 0, func() { s.hit(person(), "its CLI was killed", syscall.SIGKILL, s.clis) }, nil},
			fault{"executor frozen", name, 0, shortly, func() { s.hit(person(), "", syscall.SIGSTOP, s.executors) },
				func() { s.hit(person(), "", syscall.SIGCONT, s.executors) }},
			fault{"CLI frozen", name, 0, stormLease, func() { s.hit(person(), "", syscall.SIGSTOP, s.clis) },
				func() { s.hit(person(), "", syscall.SIGCONT, s.clis) }},
		)
	}
	return faults
}

func (s *storm) crashPostgres() { require.NoError(s.t, s.postgres.now.Crash()) }
func (s *storm) stopS3()        { require.NoError(s.t, s.s3.now.Stop(context.Background())) }
func (s *storm) startPostgres() { start(s, s.postgres) }
func (s *storm) startS3()       { start(s, s.s3) }

func start[S interface{ Stop(context.Context) error }](s *storm, of *server[S]) {
	again, err := of.start()
	require.NoError(s.t, err)
	of.now = again
}

// stopLimit is how long a program may take to end that was asked to; each has a
// deadline of its own below it.
const stopLimit = 45 * time.Second

// asked asks a program to end, and waits for it. It may be starting only. One
// that does not end has to say what it is doing.
func (s *storm) asked(p *program) func() {
	return func() {
		require.NoError(s.t, p.cmd.Process.Signal(syscall.SIGTERM))
		timeout := time.NewTimer(stopLimit)
		defer timeout.Stop()
		select {
		case <-p.done:
		case <-timeout.C:
			s.blame("%s did not end within %s of SIGTERM; its goroutines are in its log", p.name, stopLimit)
			require.NoError(s.t, p.cmd.Process.Signal(syscall.SIGQUIT))
			<-p.done
		}
	}
}

// losing excuses what a manager holds from its end before it does something.
func (s *storm) losing(m *program, why string, do func()) func() {
	return func() {
		for _, asked := range s.heldBy(m) {
			asked.excuse("its manager was " + why)
		}
		do()
	}
}

// brief is an outage of a manager that no lease runs out in. When the machine is
// so busy that it lasts for longer than planned, it is an excuse after all.
func (s *storm) brief(m *program, f fault) fault {
	begin, end := f.begin, f.end
	var began time.Time
	var held []*prompt
	f.begin = func() {
		began, held = time.Now(), s.heldBy(m)
		begin()
	}
	f.end = func() {
		end()
		if time.Since(began) < stormLease/2 {
			return
		}
		for _, asked := range held {
			asked.excuse("its manager was " + f.name + " for longer than planned")
		}
	}
	return f
}

// heldBy are the prompts without an end that a manager may be at work on.
func (s *storm) heldBy(m *program) []*prompt {
	var held []*prompt
	for _, p := range s.people {
		id := p.place()
		if s.has(m, id) || !s.has(s.managers[0], id) && !s.has(s.managers[1], id) {
			held = append(held, p.waiting()...)
		}
	}
	return held
}

// has tells whether a manager has a session's workspace.
func (s *storm) has(m *program, session string) bool {
	if session == "" {
		return false
	}
	_, err := os.Stat(s.workspace(m, session))
	return err == nil
}

// hit signals a session's processes. why excuses the end of the session's run.
func (s *storm) hit(p *person, why string, signal syscall.Signal, find func(workspace string) []int) {
	id := p.place()
	if id == "" {
		return
	}
	if why != "" {
		for _, asked := range p.waiting() {
			asked.excuse(why)
		}
	}
	for _, m := range s.managers {
		for _, pid := range find(s.workspace(m, id)) {
			_ = syscall.Kill(pid, signal) // it may just have ended
		}
	}
}

// executors are the processes of executors that work in a workspace.
func (s *storm) executors(workspace string) []int {
	return processesWith(s.t, "WORKSPACE_PATH="+workspace)
}

// clis are the agents at work in a workspace, without their commands.
func (s *storm) clis(workspace string) []int {
	var found []int
	for _, pid := range processesIn(s.t, workspace) {
		if exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe")); err == nil && strings.HasPrefix(filepath.Base(exe), "claude") {
			found = append(found, pid)
		}
	}
	return found
}
