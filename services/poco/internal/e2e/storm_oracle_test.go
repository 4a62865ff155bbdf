package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// judge compares what the system says with what happened:
//
//   - a run that says COMPLETED did all of its prompt's steps, each once, and
//     has all of its messages; its files are in the workspace and in the export;
//   - a run failed only if a fault hit it that it cannot survive, and was
//     canceled only if its person did;
//   - no command ran twice, but for one that was cut off in a run that was
//     resumed; no two agents worked in one workspace;
//   - every prompt is one run, and what a watcher saw over all reconnections is
//     what a new one sees;
//   - no process is left.
func (s *storm) judge() {
	s.t.Helper()
	executed := s.readLedger()
	ended := map[backendv1.RunStatus]int{}
	for _, p := range s.people {
		for _, asked := range p.prompts {
			ended[asked.end.GetStatus()]++
			s.judgeRun(p, asked, executed)
		}
		s.judgeSession(p)
	}
	for _, m := range s.managers {
		m.stop()
	}
	for _, p := range s.people {
		s.judgeProcesses(p)
	}
	s.t.Logf("%d runs completed, %d failed, %d were canceled", ended[backendv1.RunStatus_RUN_STATUS_COMPLETED],
		ended[backendv1.RunStatus_RUN_STATUS_FAILED], ended[backendv1.RunStatus_RUN_STATUS_CANCELED])
	if len(s.blamed) > 0 {
		s.recount()
		s.t.Fatalf("%d things are wrong:\n%s", len(s.blamed), strings.Join(s.blamed, "\n"))
	}
}

// readLedger counts the executions of each step.
func (s *storm) readLedger() map[string]int {
	s.t.Helper()
	if overlaps, err := os.ReadFile(filepath.Join(s.dir, "overlaps")); err == nil {
		s.blame("two commands were at work in one workspace: %s", overlaps)
	}
	content, err := os.ReadFile(filepath.Join(s.dir, "ledger"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	executed := map[string]int{}
	for line := range strings.Lines(string(content)) {
		executed[strings.TrimSpace(line)]++
	}
	return executed
}

// told is what a run's events say.
type told struct {
	prompts, ends int
	// results has the answers to each step's command, by step.
	results  map[string]int
	attempts int32
}

func (s *storm) judgeRun(p *person, asked *prompt, executed map[string]int) {
	run := s.told(p, asked)
	for _, step := range []string{"one", "two"} {
		times := executed[asked.label+" "+step]
		switch cutOff := times - run.results[step]; {
		case run.results[step] > 1:
			s.blame("%s: step %s was answered %d times", asked.label, step, run.results[step])
		case cutOff > 0 && run.attempts <= 1 && times > 1:
			s.blame("%s: step %s was executed %d times in one attempt", asked.label, step, times)
		case times > int(run.attempts):
			s.blame("%s: step %s was executed %d times in %d attempts", asked.label, step, times, run.attempts)
		case asked.end.GetStatus() == backendv1.RunStatus_RUN_STATUS_COMPLETED && (times == 0 || run.results[step] == 0):
			s.blame("%s says COMPLETED; step %s was executed %d times and answered %d times", asked.label, step, times, run.results[step])
		}
	}
	switch asked.end.GetStatus() {
	case backendv1.RunStatus_RUN_STATUS_COMPLETED:
		if run.prompts != 1 || run.ends != 1 {
			s.blame("%s says COMPLETED with %d messages of its prompt and %d of its end", asked.label, run.prompts, run.ends)
		}
	case backendv1.RunStatus_RUN_STATUS_CANCELED:
		if !asked.canceled {
			s.blame("%s was canceled by nobody: %s", asked.label, asked.end.GetMessage())
		}
	default:
		allowed := 0
		if p.resume {
			allowed = 1 // It may go on once after its manager was gone.
		}
		gone := slices.ContainsFunc(asked.excuses, func(why string) bool { return !strings.HasPrefix(why, "its manager") })
		if !gone && len(asked.excuses) <= allowed {
			s.blame("%s (resume %v) failed without need: %s: %s (after: %s)", asked.label, p.resume,
				asked.end.GetReason(), asked.end.GetMessage(), asked.after())
		}
	}
}

// recount shows the events of the runs that are blamed, as they are stored.
func (s *storm) recount() {
	for _, p := range s.people {
		for _, asked := range p.prompts {
			if !slices.ContainsFunc(s.blamed, func(line string) bool { return strings.HasPrefix(line, asked.label) }) {
				continue
			}
			s.t.Logf("%s is run %s of session %s (resume %v, persistent %v):", asked.label, asked.run, p.session, p.resume, p.persistent)
			for _, e := range p.follower.all() {
				if e.GetRunId() != asked.run {
					continue
				}
				line, err := protojson.Marshal(e)
				s.t.Logf("%.1500s %v", line, err)
			}
			s.keepConversations(p, asked)
		}
	}
}

// keepConversations copies what the agent itself knows of a blamed run's session.
func (s *storm) keepConversations(p *person, asked *prompt) {
	for _, m := range s.managers {
		state := filepath.Join(filepath.Dir(s.workspace(m, p.session)), "state")
		conversations, _ := filepath.Glob(filepath.Join(state, "claude", "projects", "*", "*.jsonl"))
		for _, file := range conversations {
			to := filepath.Join(os.TempDir(), fmt.Sprintf("poco-storm-%d-%s-%s", s.seed, asked.label, filepath.Base(file)))
			if content, err := os.ReadFile(file); err == nil && os.WriteFile(to, content, 0o600) == nil {
				s.t.Logf("its conversation in %s is in %s", state, to)
			}
		}
	}
}

// told collects what the events say about a run.
func (s *storm) told(p *person, asked *prompt) told {
	run := told{results: map[string]int{}}
	for _, e := range p.follower.all() {
		if e.GetRunId() != asked.run {
			continue
		}
		run.attempts = max(run.attempts, e.GetPayload().GetRunStatusChanged().GetAttempt())
		message := e.GetPayload().GetMessageAdded()
		for _, block := range message.GetBlocks() {
			for _, step := range []string{"one", "two"} {
				if strings.Contains(block.GetToolResult().GetContent(), "did "+asked.label+" "+step) {
					run.results[step]++
				}
			}
			switch text := block.GetText().GetText(); {
			case message.GetRole() == backendv1.MessageRole_MESSAGE_ROLE_USER && strings.Contains(text, "Please do "+asked.label+"."):
				run.prompts++
			case message.GetRole() == backendv1.MessageRole_MESSAGE_ROLE_ASSISTANT && strings.Contains(text, "Finished "+asked.label+"."):
				run.ends++
			}
		}
	}
	return run
}

// judgeSession compares a session's lists, files and events with each other.
func (s *storm) judgeSession(p *person) {
	ctx := context.WithoutCancel(s.t.Context())
	p.follower.requireExactlyOnce()
	s.judgeReplay(ctx, p)
	list, err := s.runs.ListRuns(ctx, &backendv1.ListRunsRequest{SessionId: p.session, PageSize: 500})
	if err != nil {
		s.blame("the runs of session %s cannot be listed: %v", p.session, err)
	} else if len(list.GetRuns()) != len(p.prompts) {
		s.blame("session %s has %d runs for %d prompts", p.session, len(list.GetRuns()), len(p.prompts))
	}
	exported := s.exported(ctx, p)
	for _, asked := range p.prompts {
		if asked.end.GetStatus() != backendv1.RunStatus_RUN_STATUS_COMPLETED {
			continue
		}
		name := "work-" + asked.label + ".txt"
		if !exported[name] {
			s.blame("%s says COMPLETED, but %s is not in the export of session %s", asked.label, name, p.session)
		}
	}
}

// judgeReplay compares what the watcher saw over all interruptions with what
// one sees that comes now.
func (s *storm) judgeReplay(ctx context.Context, p *person) {
	stream, err := s.sessions.WatchSession(ctx, &backendv1.WatchSessionRequest{SessionId: p.session, StopWhenIdle: true})
	var replayed []*backendv1.SessionEvent
	for err == nil {
		var message *backendv1.WatchSessionResponse
		if message, err = stream.Recv(); message.GetEvent() != nil {
			replayed = append(replayed, message.GetEvent())
		}
	}
	if !errors.Is(err, io.EOF) {
		s.blame("session %s cannot be replayed: %v", p.session, err)
		return
	}
	watched := p.follower.all()
	same := slices.EqualFunc(watched[:min(len(watched), len(replayed))], replayed[:min(len(watched), len(replayed))],
		func(a, b *backendv1.SessionEvent) bool { return proto.Equal(a, b) })
	if !same || len(watched) > len(replayed) {
		s.blame("session %s: the watcher saw %d events, a replay has %d, equal so far: %v", p.session, len(watched), len(replayed), same)
	}
}

// exported returns the names of the files in the session's export, which is
// asked for again when the storm has taken it.
func (s *storm) exported(ctx context.Context, p *person) map[string]bool {
	for try := 0; ; try++ {
		session, err := s.sessions.GetSession(ctx, &backendv1.GetSessionRequest{SessionId: p.session})
		if err != nil {
			s.blame("session %s cannot be read: %v", p.session, err)
			return nil
		}
		export := session.GetSession().GetExport().GetStatus()
		if export == backendv1.ExportStatus_EXPORT_STATUS_READY {
			break
		}
		var after int64
		if export != backendv1.ExportStatus_EXPORT_STATUS_PENDING {
			if try > 0 {
				s.blame("session %s cannot be exported: %s", p.session, session.GetSession().GetExport().GetReason())
				return nil
			}
			after = session.GetSession().GetLastSeq()
			if _, err := s.sessions.RetryExport(ctx, &backendv1.RetryExportRequest{SessionId: p.session}); err != nil {
				s.blame("session %s cannot be exported again: %v", p.session, err)
				return nil
			}
		} else if after = lastPending(p.follower); after == 0 {
			after = session.GetSession().GetLastSeq()
		}
		if err := awaitExportAfter(p.follower, after); err != nil {
			s.blame("the export of session %s did not end: %v", p.session, err)
			return nil
		}
	}
	names := map[string]bool{}
	for token, more := "", true; more; more = token != "" {
		page, err := s.sessions.ListWorkspaceFiles(ctx, &backendv1.ListWorkspaceFilesRequest{SessionId: p.session, PageToken: token})
		if err != nil {
			s.blame("the files of session %s cannot be listed: %v", p.session, err)
			return nil
		}
		for _, file := range page.GetFiles() {
			names[file.GetPath()] = true
		}
		token = page.GetNextPageToken()
	}
	return names
}

// awaitExportAfter waits for the end of an export.
func awaitExportAfter(f *follower, seq int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.t.Context()), awaitTimeout)
	defer cancel()
	_, err := f.find(ctx, isExportEnd(seq))
	return err
}

// lastPending is the event with which the latest export began; 0 for none.
func lastPending(f *follower) int64 {
	var seq int64
	for _, e := range f.all() {
		if e.GetPayload().GetExportChanged().GetStatus() == backendv1.ExportStatus_EXPORT_STATUS_PENDING {
			seq = e.GetSeq()
		}
	}
	return seq
}

// judgeProcesses looks for what a session left behind. An executor that is kept
// for the session's next run is no orphan; it is ended here.
func (s *storm) judgeProcesses(p *person) {
	for _, m := range s.managers {
		workspace := s.workspace(m, p.session)
		kept := s.executors(workspace)
		if len(kept) > 1 || len(kept) > 0 && !p.persistent {
			s.blame("session %s (persistent %v) has %d executors left", p.session, p.persistent, len(kept))
		}
		for _, pid := range kept {
			if process, err := os.FindProcess(pid); err == nil {
				_ = process.Kill() // it may just have ended
			}
			awaitGone(s.t, pid)
		}
		if left := processesIn(s.t, workspace); len(left) > 0 {
			s.blame("processes are left in the workspace of session %s: %v", p.session, left)
		}
	}
}
