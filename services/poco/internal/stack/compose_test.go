package stack

import (
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
	"github.com/poco-ai/poco/services/internal/config/schema"
)

func compose(t *testing.T, environ ...string) *composeSettings {
	t.Helper()
	src := config.Sources{Environ: environ}
	poco, err := config.Load(&configv1.PocoConfig{}, "poco", src)
	require.NoError(t, err)
	c, err := loadCompose(with(src, testLayer(t), nil), poco)
	require.NoError(t, err)
	return c
}

func TestPortsOfTheEmbeddedServers(t *testing.T) {
	for name, c := range map[string]struct {
		environ      []string
		s3, postgres int
	}{
		"defaults":               {nil, 9000, 0},
		"of a compose stack":     {[]string{"S3_PORT=19000", "POSTGRES_PORT=15432"}, 19000, 15432},
		"of the command":         {[]string{"POCO_S3_PORT=0", "POCO_POSTGRES_PORT=15433"}, 0, 15433},
		"both, the command's":    {[]string{"S3_PORT=19000", "POCO_S3_PORT=19001", "POSTGRES_PORT=1", "POCO_POSTGRES_PORT=2"}, 19001, 2},
		"the stack's own number": {[]string{"POSTGRES_PORT=5432"}, 9000, 5432},
	} {
		t.Run(name, func(t *testing.T) {
			got := compose(t, c.environ...)
			require.Equal(t, c.s3, got.s3Port)
			require.Equal(t, c.postgres, got.postgresPort)
		})
	}
	_, err := loadCompose(config.Sources{Environ: []string{"S3_PORT=none"}}, nil)
	require.ErrorContains(t, err, "S3_PORT")
}

// Every variable of the compose stack acts on poco up, or is told not to.
func TestNoComposeSettingIsIgnoredSilently(t *testing.T) {
	acts := map[string]bool{"POSTGRES_PORT": true, "S3_PORT": true, "S3_ACCESS_KEY": true, "S3_SECRET_KEY": true, "S3_BUCKET": true}
	for _, s := range schema.Of((&configv1.StackConfig{}).ProtoReflect().Descriptor()) {
		_, told := unusedByUp[s.GetEnv()]
		require.NotEqual(t, acts[s.GetEnv()], told, "%s either acts or is told to have no effect", s.GetEnv())
	}
	require.Equal(t, []string{"POSTGRES_USER is set and has no effect: " + ownAccount}, compose(t, "POSTGRES_USER=me", "S3_PORT=19000").unused(true, true))
	require.Equal(t, []string{
		"POSTGRES_PORT is set and has no effect: " + otherPostgres, "S3_PORT is set and has no effect: " + otherS3,
	}, compose(t, "POSTGRES_PORT=5432", "S3_PORT=9000").unused(false, false))
	require.Empty(t, compose(t).unused(true, true))
	require.Empty(t, compose(t, "S3_ACCESS_KEY=one-part-of-three").unused(true, true), "the other parts are supplied")
}
