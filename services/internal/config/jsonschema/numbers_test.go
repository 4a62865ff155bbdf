package jsonschema

import (
	"math"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config/schema"
)

func TestIntegersMatchTheirRange(t *testing.T) {
	const most = 70000
	for _, bounds := range [][2]int64{{0, 65535}, {1, 65535}, {0, 0}, {7, 7}, {16, 2048}, {95, 105}, {1, 1000}, {123, 4567}, {0, math.MaxInt64}, {16, math.MaxInt64}, {100, math.MaxInt64}} {
		lo, hi := float64(bounds[0]), float64(bounds[1])
		r := schema.Range{Min: &lo, Max: &hi}
		if bounds[1] == math.MaxInt64 {
			r.Max = nil
		}
		pattern := regexp.MustCompile(`^(?:` + integers(r) + `)$`)
		for n := range int64(most) {
			if pattern.MatchString(strconv.FormatInt(n, 10)) != (bounds[0] <= n && n <= bounds[1]) {
				require.Fail(t, "wrong", "%d in %v by %s", n, bounds, pattern)
			}
		}
		require.False(t, pattern.MatchString("-1"))
		require.False(t, pattern.MatchString(""))
		require.Equal(t, r.Max == nil, pattern.MatchString(strconv.FormatInt(math.MaxInt64, 10)))
	}
}
