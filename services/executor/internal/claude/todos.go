package claude

import (
	"encoding/json"
	"regexp"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	executorv1 "github.com/poco-ai/poco/gen/go/poco/executor/v1"
)

// todoList follows the agent's to-do list, whichever tools it keeps it with:
// TaskCreate and TaskUpdate, or TodoWrite in older versions of the CLI.
type todoList struct {
	todos []*backendv1.Todo
}

var taskCreated = regexp.MustCompile(`^Task #(\S+) created`)

type taskInput struct {
	// TaskCreate and TaskUpdate.
	Subject    string `json:"subject"`
	ActiveForm string `json:"activeForm"`
	TaskID     string `json:"taskId"`
	Status     string `json:"status"`
	// TodoWrite.
	Todos []struct {
		ID         string `json:"id"`
		Content    string `json:"content"`
		Status     string `json:"status"`
		ActiveForm string `json:"activeForm"`
	} `json:"todos"`
}

// apply takes a tool call that succeeded and says whether the list changed.
func (l *todoList) apply(call toolCall, result json.RawMessage, text string) bool {
	var in taskInput
	switch call.name {
	case "TaskCreate", "TaskUpdate", "TodoWrite":
		if json.Unmarshal(call.input, &in) != nil {
			return false
		}
	default:
		return false
	}
	switch call.name {
	case "TaskCreate":
		id := createdTask(result, text)
		if id == "" {
			return false
		}
		l.todos = append(l.todos, &backendv1.Todo{
			Id: id, Content: in.Subject, ActiveForm: in.ActiveForm, Status: backendv1.TodoStatus_TODO_STATUS_PENDING,
		})
	case "TaskUpdate":
		return l.update(in)
	case "TodoWrite":
		l.todos = make([]*backendv1.Todo, 0, len(in.Todos))
		for _, todo := range in.Todos {
			l.todos = append(l.todos, &backendv1.Todo{
				Id: todo.ID, Content: todo.Content, ActiveForm: todo.ActiveForm, Status: todoStatus(todo.Status),
			})
		}
	}
	return true
}

// createdTask finds the id that the CLI gave to a new task.
func createdTask(result json.RawMessage, text string) string {
	var created struct {
		Task struct {
			ID string `json:"id"`
		} `json:"task"`
	}
	if json.Unmarshal(result, &created) == nil && created.Task.ID != "" {
		return created.Task.ID
	}
	if found := taskCreated.FindStringSubmatch(text); found != nil {
		return found[1]
	}
	return ""
}

func (l *todoList) update(in taskInput) bool {
	for i, todo := range l.todos {
		if todo.GetId() != in.TaskID {
			continue
		}
		if in.Status == "deleted" {
			l.todos = append(l.todos[:i:i], l.todos[i+1:]...)
			return true
		}
		if in.Status != "" {
			todo.Status = todoStatus(in.Status)
		}
		if in.Subject != "" {
			todo.Content = in.Subject
		}
		if in.ActiveForm != "" {
			todo.ActiveForm = in.ActiveForm
		}
		return true
	}
	if in.Status == "deleted" || in.TaskID == "" {
		return false
	}
	// A task of an earlier run of the conversation: its subject is not known here.
	content := in.Subject
	if content == "" {
		content = "Task #" + in.TaskID
	}
	l.todos = append(l.todos, &backendv1.Todo{
		Id: in.TaskID, Content: content, ActiveForm: in.ActiveForm, Status: todoStatus(in.Status),
	})
	return true
}

func todoStatus(s string) backendv1.TodoStatus {
	switch s {
	case "in_progress":
		return backendv1.TodoStatus_TODO_STATUS_IN_PROGRESS
	case "completed":
		return backendv1.TodoStatus_TODO_STATUS_COMPLETED
	default:
		return backendv1.TodoStatus_TODO_STATUS_PENDING
	}
}

// payload is the list as an event.
func (l *todoList) payload() *executorv1.RunEventPayload {
	changed := &backendv1.TodosChanged{}
	for _, todo := range l.todos {
		changed.Todos = append(changed.Todos, &backendv1.Todo{
			Id: todo.GetId(), Content: todo.GetContent(), ActiveForm: todo.GetActiveForm(), Status: todo.GetStatus(),
		})
		if changed.GetCurrentStep() == "" && todo.GetStatus() == backendv1.TodoStatus_TODO_STATUS_IN_PROGRESS {
			changed.CurrentStep = todo.GetActiveForm()
			if changed.GetCurrentStep() == "" {
				changed.CurrentStep = todo.GetContent()
			}
		}
	}
	return &executorv1.RunEventPayload{Kind: &executorv1.RunEventPayload_TodosChanged{TodosChanged: changed}}
}
