package pagesize_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/pagesize"
)

func TestSizes(t *testing.T) {
	limits := pagesize.Limits{Standard: 50, Most: 500}
	for requested, want := range map[int32]int32{0: 50, 1: 1, 499: 499, 500: 500, 501: 500, math.MaxInt32: 500} {
		require.Equal(t, want, limits.Of(requested), "page_size %d", requested)
	}
}

var pageSize = regexp.MustCompile(`(?m)^  // (.*)\n  int32 page_size = \d+ (.*);$`)

// Every list cuts what is too much, and says so with one of the limits here.
func TestEveryListSaysItsLimits(t *testing.T) {
	told := map[string]bool{}
	for _, l := range []pagesize.Limits{pagesize.Usual, pagesize.Long, pagesize.Files} {
		told[fmt.Sprintf("Default %d; more than %d are cut to that.", l.Standard, l.Most)] = true
	}
	files, err := filepath.Glob("../../../proto/poco/*/v1/*.proto")
	require.NoError(t, err)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		fields := pageSize.FindAllStringSubmatch(string(text), -1)
		require.Len(t, fields, len(regexp.MustCompile(` page_size = `).FindAll(text, -1)), file)
		for _, field := range fields {
			found++
			limits := regexp.MustCompile(`^[^.]*\.`).FindString(field[1])
			require.True(t, told[limits], "%s: %q", file, field[1])
			require.Equal(t, "[(buf.validate.field).int32.gte = 0]", field[2], "%s: too much is not refused", file)
		}
	}
	require.NotZero(t, found)
}
