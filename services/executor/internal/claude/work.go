package claude

import (
	"cmp"
	"encoding/json"
	"slices"
)

// work follows what the CLI has under way besides its tool calls. It tells
// silence from idleness, and the end of a turn from the end of all work: a
// command or a sub-agent in the background outlives the turn that started it,
// and wakes the CLI for another one when it ends.
type work struct {
	// state is what the CLI says of itself: "running", "requires_action" or
	// "idle"; empty for a CLI that does not say.
	state      string
	compacting bool
	tasks      map[string]*task
	started    int
}

// task is a command, a sub-agent or a workflow that the CLI runs.
type task struct {
	// kind is the CLI's word, for example "local_bash". call is the tool call
	// that started the task.
	kind, call string
	// what tells a person which one it is.
	what string
	// ended: it is over, and the CLI has not told its model yet. That takes a
	// model call more, in this turn or in one of its own.
	ended bool
	order int
}

// kindCommand is a shell command, which may be a server that never ends by
// itself. Everything else is an agent's work.
const kindCommand = "local_bash"

// wireWork is what system lines say about work under way.
type wireWork struct {
	// session_state_changed.
	State string `json:"state"`
	// status and task_notification.
	Status string `json:"status"`
	// task_started, task_updated and task_notification.
	TaskID      string `json:"task_id"`
	TaskType    string `json:"task_type"`
	ToolUseID   string `json:"tool_use_id"`
	Description string `json:"description"`
	Patch       struct {
		Status string `json:"status"`
	} `json:"patch"`
}

// observe takes a system line. It returns the task that the CLI stopped by
// itself or for its model, if the line says so. call describes a tool call.
func (w *work) observe(subtype string, data []byte, call func(id string) string) (stopped *task) {
	switch subtype {
	case "session_state_changed", "status", "task_started", "task_updated", "task_notification":
	default:
		return nil
	}
	var line wireWork
	if json.Unmarshal(data, &line) != nil {
		return nil // It is reported all the same; only what it says about work is not known.
	}
	switch subtype {
	case "session_state_changed":
		w.state = line.State
	case "status":
		w.compacting = line.Status == "compacting"
		if line.Status == "requesting" {
			w.told()
		}
	case "task_started":
		w.started++
		w.tasks[line.TaskID] = &task{
			kind: line.TaskType, call: line.ToolUseID, order: w.started,
			what: cmp.Or(call(line.ToolUseID), line.Description, line.TaskType, line.TaskID),
		}
	case "task_updated":
		if t := w.tasks[line.TaskID]; t != nil && slices.Contains([]string{"completed", "failed", "killed"}, line.Patch.Status) {
			t.ended = true
		}
	case "task_notification":
		if line.Status == "stopped" {
			stopped = w.tasks[line.TaskID]
		}
		delete(w.tasks, line.TaskID)
	}
	return stopped
}

// told forgets the tasks that ended before the model call that now begins: it
// carries the news of them.
func (w *work) told() {
	for id, t := range w.tasks {
		if t.ended {
			delete(w.tasks, id)
		}
	}
}

// turnOver says whether the CLI waits for input.
func (w *work) turnOver() bool { return w.state == "idle" || w.state == "" }

// running are the tasks that have not ended, in the order of their start.
func (w *work) running() []*task {
	var running []*task
	for _, t := range w.tasks {
		if !t.ended {
			running = append(running, t)
		}
	}
	slices.SortFunc(running, func(a, b *task) int { return cmp.Compare(a.order, b.order) })
	return running
}
