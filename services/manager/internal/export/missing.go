package export

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/poco-ai/poco/services/manager/internal/safefs"
)

const (
	// maxNamed is how many paths a person is told; the manifest has them all.
	maxNamed = 5
	// maxMissing bounds what is listed of them.
	maxMissing = 10_000
)

// missing is what is left out of an export or a snapshot, and why.
type missing struct {
	mu    sync.Mutex
	paths []safefs.Skipped
	more  int
}

func (m *missing) add(s safefs.Skipped) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.paths) == maxMissing {
		m.more++
		return
	}
	m.paths = append(m.paths, s)
}

// count is how many paths are missing.
func (m *missing) count() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.paths) + m.more)
}

// sorted returns them by path.
func (m *missing) sorted() []safefs.Skipped {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.SortFunc(m.paths, func(a, b safefs.Skipped) int { return strings.Compare(a.Path, b.Path) })
	return m.paths
}

// content tells whether any of them had content that is lost without it.
func (m *missing) content() bool {
	return slices.ContainsFunc(m.sorted(), func(s safefs.Skipped) bool { return !errors.Is(s.Err, safefs.ErrSpecial) })
}

// list names some of them and counts the others.
func (m *missing) list() string {
	var parts []string
	for i, s := range m.sorted() {
		if i == maxNamed {
			parts = append(parts, fmt.Sprintf("and %d more", m.count()-maxNamed))
			break
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", quoted(s.Path), why(s.Err)))
	}
	return strings.Join(parts, ", ")
}

// why is a reason without the call and the path that the file system adds.
func why(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}
