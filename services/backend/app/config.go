// Package app is the backend as a whole: its settings, and how its parts start
// and stop.
package app

import (
	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// Service is the backend's name in logs and in its configuration report.
const Service = "backend"

// Config is the backend's configuration.
type Config = config.Loaded[*configv1.BackendConfig]

// LoadConfig reads the backend's settings. The error lists every problem.
func LoadConfig(src config.Sources) (*Config, error) {
	return config.Load(&configv1.BackendConfig{}, Service, src)
}
