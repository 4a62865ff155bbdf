// Package pagesize says how many entries a page of a list has.
package pagesize

// Limits are the page sizes of a list.
type Limits struct {
	// Standard is the size when the caller does not say.
	Standard int32
	// Most is the greatest size; anyone who asks for more gets as many.
	Most int32
}

// The lists' limits, which the protos tell.
var (
	// Usual is for lists of sessions, runs and questions.
	Usual = Limits{Standard: 50, Most: 500}
	// Long is for what a session or a manager has many of.
	Long = Limits{Standard: 100, Most: 1000}
	// Files is for the files of a workspace.
	Files = Limits{Standard: 500, Most: 1000}
)

// Of returns the number of entries for a requested page size, as
// https://google.aip.dev/158 has it: 0 is the standard, and what is too much is
// cut. Requests with a negative one are refused before.
func (l Limits) Of(requested int32) int32 {
	if requested <= 0 {
		return l.Standard
	}
	return min(requested, l.Most)
}
