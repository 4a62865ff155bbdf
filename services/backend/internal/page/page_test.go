package page

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/poco-ai/poco/services/internal/config"
)

func text(row *int) (*wrapperspb.StringValue, error) {
	return wrapperspb.String(strings.Repeat("x", *row)), nil
}

func TestFill(t *testing.T) {
	for name, c := range map[string]struct {
		rows []int
		size int32
		want int
		more bool
	}{
		"none":                      {nil, 2, 0, false},
		"fewer than the page holds": {[]int{1}, 2, 1, false},
		"just as many":              {[]int{1, 1}, 2, 2, false},
		"one more":                  {[]int{1, 1, 1}, 2, 2, true},
		"too heavy":                 {[]int{MaxBytes / 2, MaxBytes, 1}, 10, 1, true},
		"the first is heavy":        {[]int{2 * MaxBytes, 1}, 10, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, more, err := Fill(c.rows, c.size, text)
			require.NoError(t, err)
			require.Len(t, got, c.want)
			require.Equal(t, c.more, more)
		})
	}
}

func TestTokensAreOfOneList(t *testing.T) {
	tokens := NewTokens(config.NewSecret("secret"))
	token, err := tokens.Encode("runs/default", Key{ID: "a"})
	require.NoError(t, err)
	key, err := tokens.Decode("runs/default", token, Newest)
	require.NoError(t, err)
	require.Equal(t, Key{ID: "a"}, key)
	key, err = tokens.Decode("runs/default", "", Newest)
	require.NoError(t, err)
	require.Equal(t, Newest, key)
	_, err = tokens.Decode("runs/other", token, Newest)
	require.ErrorContains(t, err, "page_token")
	_, err = NewTokens(config.NewSecret("another")).Decode("runs/default", token, Newest)
	require.ErrorContains(t, err, "page_token")
}
