package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config"
)

func TestDotEnvThatMayNotBeRead(t *testing.T) {
	path := filepath.Join(open(t), ".env")
	require.NoError(t, os.WriteFile(path, nil, 0))
	look := func() {
		require.Equal(t, []string{"the file " + path + ": may not be read by this user: correct that, or remove the file"},
			problems(t, config.Sources{Environ: backendEnv(), DotEnvPath: path}))
	}
	if os.Geteuid() == 0 { // who may read everything
		asNobody(look)
		return
	}
	look()
}
