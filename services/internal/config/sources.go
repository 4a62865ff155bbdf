package config

import "os"

// Sources is where settings are read from.
type Sources struct {
	// Environ has the form of os.Environ().
	Environ []string
	// DotEnvPath is read when the file exists; empty reads none.
	DotEnvPath string
	// Embedded are the values "poco up" supplies, by variable name.
	Embedded map[string]string
}

// envFileVariable names another .env file.
const envFileVariable = "POCO_ENV_FILE"

// OSSources returns the process's environment and ./.env (or the file that
// POCO_ENV_FILE names).
func OSSources() Sources {
	path := os.Getenv(envFileVariable)
	if path == "" {
		path = ".env"
	}
	return Sources{Environ: os.Environ(), DotEnvPath: path}
}

const (
	// EnvironmentVariable tells what kind of deployment this is.
	EnvironmentVariable = "APP_ENV"
	// Development is its value that tolerates insecure defaults.
	Development = "development"
	// Production is its value that refuses insecure defaults.
	Production = "production"
)
