package claude

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
)

// streamedUsage adds up the usage of the model's streams: all that is known
// until the result comes, and all there is when it never does.
type streamedUsage struct {
	total   wireUsage
	current map[string]wireUsage
	// reported is the part that the latest result covers.
	reported wireUsage
}

func (u *streamedUsage) start(parent string, usage wireUsage) {
	u.finish(parent)
	u.current[parent] = usage
}

// update takes the numbers of a message_delta, which are the message's own
// totals; servers that leave the input counts out send zero.
func (u *streamedUsage) update(parent string, usage wireUsage) {
	current := u.current[parent]
	current.InputTokens = max(current.InputTokens, usage.InputTokens)
	current.OutputTokens = max(current.OutputTokens, usage.OutputTokens)
	current.CacheReadTokens = max(current.CacheReadTokens, usage.CacheReadTokens)
	current.CacheCreationTokens = max(current.CacheCreationTokens, usage.CacheCreationTokens)
	u.current[parent] = current
}

func (u *streamedUsage) finish(parent string) {
	u.total = add(u.total, u.current[parent])
	delete(u.current, parent)
}

// sum is everything streamed so far.
func (u *streamedUsage) sum() wireUsage {
	sum := u.total
	for _, current := range u.current {
		sum = add(sum, current)
	}
	return sum
}

func add(a, b wireUsage) wireUsage {
	return wireUsage{
		InputTokens:         a.InputTokens + b.InputTokens,
		OutputTokens:        a.OutputTokens + b.OutputTokens,
		CacheReadTokens:     a.CacheReadTokens + b.CacheReadTokens,
		CacheCreationTokens: a.CacheCreationTokens + b.CacheCreationTokens,
	}
}

// usageOf reads a result's numbers. The usage by model covers side requests
// as well, so it comes first.
func usageOf(r *wireResult) *backendv1.Usage {
	usage := &backendv1.Usage{
		TotalCostUsd: r.TotalCostUSD, NumTurns: r.NumTurns,
		Duration:    durationpb.New(time.Duration(r.DurationMS * float64(time.Millisecond))),
		ApiDuration: durationpb.New(time.Duration(r.DurationAPIMS * float64(time.Millisecond))),
		InputTokens: r.Usage.InputTokens, OutputTokens: r.Usage.OutputTokens,
		CacheReadInputTokens: r.Usage.CacheReadTokens, CacheCreationInputTokens: r.Usage.CacheCreationTokens,
	}
	if len(r.ModelUsage) == 0 {
		return usage
	}
	usage.InputTokens, usage.OutputTokens, usage.CacheReadInputTokens, usage.CacheCreationInputTokens = 0, 0, 0, 0
	usage.Models = make(map[string]*backendv1.ModelUsage, len(r.ModelUsage))
	for model, m := range r.ModelUsage {
		usage.Models[model] = &backendv1.ModelUsage{
			CostUsd: m.CostUSD, InputTokens: m.InputTokens, OutputTokens: m.OutputTokens,
			CacheReadInputTokens: m.CacheReadTokens, CacheCreationInputTokens: m.CacheCreationTokens,
		}
		usage.InputTokens += m.InputTokens
		usage.OutputTokens += m.OutputTokens
		usage.CacheReadInputTokens += m.CacheReadTokens
		usage.CacheCreationInputTokens += m.CacheCreationTokens
	}
	return usage
}

// sumUp adds a result to those before it. Its costs and tokens by model and the
// time of its model calls cover the whole process; its number of turns and its
// duration are its own.
func (t *translator) sumUp(before, latest *backendv1.Usage) *backendv1.Usage {
	t.usage.reported = t.usage.sum()
	if before == nil {
		return latest
	}
	if len(latest.GetModels()) == 0 { // Nothing was used that before does not hold.
		latest.Models, latest.TotalCostUsd = before.GetModels(), max(before.GetTotalCostUsd(), latest.GetTotalCostUsd())
		addTokens(latest, tokensOf(before))
	}
	latest.NumTurns += before.GetNumTurns()
	latest.Duration = durationpb.New(before.GetDuration().AsDuration() + latest.GetDuration().AsDuration())
	return latest
}

// usageSoFar is what was reported and what was streamed since.
func (t *translator) usageSoFar(reported *backendv1.Usage, duration time.Duration) *backendv1.Usage {
	if reported == nil {
		reported = &backendv1.Usage{Duration: durationpb.New(duration)}
	}
	sum, covered := t.usage.sum(), t.usage.reported
	addTokens(reported, wireUsage{
		InputTokens:         sum.InputTokens - covered.InputTokens,
		OutputTokens:        sum.OutputTokens - covered.OutputTokens,
		CacheReadTokens:     sum.CacheReadTokens - covered.CacheReadTokens,
		CacheCreationTokens: sum.CacheCreationTokens - covered.CacheCreationTokens,
	})
	return reported
}

func tokensOf(u *backendv1.Usage) wireUsage {
	return wireUsage{
		InputTokens: u.GetInputTokens(), OutputTokens: u.GetOutputTokens(),
		CacheReadTokens: u.GetCacheReadInputTokens(), CacheCreationTokens: u.GetCacheCreationInputTokens(),
	}
}

func addTokens(u *backendv1.Usage, more wireUsage) {
	u.InputTokens += more.InputTokens
	u.OutputTokens += more.OutputTokens
	u.CacheReadInputTokens += more.CacheReadTokens
	u.CacheCreationInputTokens += more.CacheCreationTokens
}
