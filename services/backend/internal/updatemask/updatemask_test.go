package updatemask_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	backendv1 "github.com/poco-ai/poco/gen/go/poco/backend/v1"
	"github.com/poco-ai/poco/services/backend/internal/updatemask"
)

func TestFields(t *testing.T) {
	titled := &backendv1.UpdateSessionRequest{Title: new("x")}
	for name, c := range map[string]struct {
		paths []string
		want  []string
		wrong string
	}{
		"no mask: what is set":      {nil, []string{"title"}, ""},
		"what is named":             {[]string{"project_id"}, []string{"project_id"}, ""},
		"both":                      {[]string{"project_id", "title"}, []string{"project_id", "title"}, ""},
		"all":                       {[]string{"*"}, []string{"title", "project_id"}, ""},
		"a field that stays":        {[]string{"title", "session_id"}, nil, `update_mask: "session_id" is none`},
		"nothing that there is":     {[]string{"nonsense"}, nil, `update_mask: "nonsense" is none`},
		"the JSON name":             {[]string{"projectId"}, nil, `"projectId" is none of the fields that can be changed: title, project_id`},
		"all and something besides": {[]string{"*", "title"}, nil, `"*" is none`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := updatemask.Fields(titled, &fieldmaskpb.FieldMask{Paths: c.paths}, "title", "project_id")
			if c.wrong != "" {
				require.ErrorContains(t, err, c.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
