package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// status prints how a run stands, and at its end what it changed and cost.
func (r *Renderer) status(run *runView, change *backendv1.RunStatusChanged) {
	switch change.GetStatus() {
	case backendv1.RunStatus_RUN_STATUS_QUEUED:
		if at := change.GetScheduledAt(); at != nil && time.Until(at.AsTime()) > time.Minute {
			r.entry(r.style.text(dim, "queued, not before "+at.AsTime().Format(time.RFC3339)))
		} else if change.GetAttempt() > 0 {
			r.entry(r.style.text(dim, "queued again: "+Line(change.GetMessage(), 2*r.opts.Width)))
		}
	case backendv1.RunStatus_RUN_STATUS_CANCELING:
		r.entry(r.style.text(yellow, "canceling…"))
	case backendv1.RunStatus_RUN_STATUS_COMPLETED:
		r.end(run, r.style.text(green, "✔ completed"), change)
	case backendv1.RunStatus_RUN_STATUS_FAILED:
		r.end(run, r.style.text(red, "✘ failed"), change)
	case backendv1.RunStatus_RUN_STATUS_CANCELED:
		r.end(run, r.style.text(yellow, "■ canceled"), change)
	default: // claimed and running show by what the agent does
	}
}

func (r *Renderer) end(run *runView, what string, change *backendv1.RunStatusChanged) {
	run.done, run.live = true, nil
	r.files(run.files)
	line := what
	failed := change.GetStatus() == backendv1.RunStatus_RUN_STATUS_FAILED
	if change.GetReason() != backendv1.RunReason_RUN_REASON_UNSPECIFIED && failed {
		line += " (" + strings.ToLower(strings.TrimPrefix(change.GetReason().String(), "RUN_REASON_")) + ")"
	}
	if change.GetMessage() != "" {
		line += ": " + Line(change.GetMessage(), 4*r.opts.Width)
	}
	if usage := usageLine(run.usage); usage != "" {
		line += r.style.text(dim, " · "+usage)
	}
	r.entry(line)
}

func usageLine(usage *backendv1.Usage) string {
	if usage == nil {
		return ""
	}
	var parts []string
	if usage.GetDuration() != nil {
		parts = append(parts, duration(usage.GetDuration().AsDuration()))
	}
	parts = append(parts, fmt.Sprintf("$%.4f", usage.GetTotalCostUsd()))
	in := usage.GetInputTokens() + usage.GetCacheReadInputTokens() + usage.GetCacheCreationInputTokens()
	parts = append(parts, fmt.Sprintf("%s tokens in, %s out", thousands(in), thousands(usage.GetOutputTokens())))
	return strings.Join(parts, " · ")
}

var changeLetter = map[backendv1.FileChangeStatus]string{
	backendv1.FileChangeStatus_FILE_CHANGE_STATUS_ADDED:    "A",
	backendv1.FileChangeStatus_FILE_CHANGE_STATUS_MODIFIED: "M",
	backendv1.FileChangeStatus_FILE_CHANGE_STATUS_DELETED:  "D",
	backendv1.FileChangeStatus_FILE_CHANGE_STATUS_RENAMED:  "R",
}

func (r *Renderer) files(changed *backendv1.FilesChanged) {
	if len(changed.GetFiles()) == 0 {
		return
	}
	total := max(int(changed.GetTotalFiles()), len(changed.GetFiles()))
	title := fmt.Sprintf("%s changed, +%d −%d", count(total, "file"),
		changed.GetTotalAdditions(), changed.GetTotalDeletions())
	r.entry("\n" + r.style.text(bold, title))
	for _, file := range changed.GetFiles() {
		path := Line(file.GetPath(), 2*r.opts.Width)
		if file.GetOldPath() != "" {
			path = Line(file.GetOldPath(), 2*r.opts.Width) + " → " + path
		}
		counts := fmt.Sprintf("+%d −%d", file.GetAdditions(), file.GetDeletions())
		if file.GetBinary() {
			counts = "binary"
		}
		r.entry(fmt.Sprintf("  %s %s %s", changeLetter[file.GetStatus()], path, r.style.text(dim, counts)))
		r.diff(file)
	}
	if hidden := total - len(changed.GetFiles()); hidden > 0 {
		r.entry(r.style.text(dim, "  … and "+count(hidden, "more file")))
	}
	r.out.write("\n")
}

func (r *Renderer) diff(file *backendv1.FileChange) {
	text := strings.TrimRight(Clean(file.GetDiff()), "\n")
	if text == "" {
		return
	}
	shown, hidden := 0, 0
	inHunk := false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "@@") {
			inHunk = true
		}
		if !inHunk { // the header repeats the path
			continue
		}
		if shown == maxDiffLines {
			hidden++
			continue
		}
		shown++
		line = cut(line, 2*r.opts.Width)
		switch {
		case strings.HasPrefix(line, "@@"):
			line = r.style.text(cyan, line)
		case strings.HasPrefix(line, "+"):
			line = r.style.text(green, line)
		case strings.HasPrefix(line, "-"):
			line = r.style.text(red, line)
		}
		r.entry("    " + line)
	}
	switch {
	case hidden > 0:
		r.entry(r.style.text(dim, "    … "+count(hidden, "more line")))
	case file.GetDiffTruncated():
		r.entry(r.style.text(dim, "    … diff cut"))
	}
}

func duration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	default:
		return fmt.Sprintf("%d B", bytes)
	}
}

func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
