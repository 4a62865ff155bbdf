package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/config/schema"
)

// TestOneNameHasOneMeaning: what a variable is called in one service it is
// called in all. A name that is another setting's alias elsewhere would make an
// environment that two programs share mean two things.
func TestOneNameHasOneMeaning(t *testing.T) {
	settings := map[string]string{} // every name → the setting's own
	for _, service := range schema.Services() {
		for _, s := range schema.Of(service.Message.ProtoReflect().Descriptor()) {
			for _, name := range s.Names() {
				own, known := settings[name]
				require.True(t, !known || own == s.GetEnv(), "%s is %s in %s, and %s elsewhere", name, s.GetEnv(), service.Name, own)
				settings[name] = s.GetEnv()
			}
		}
	}
	require.NotEmpty(t, settings)
}
