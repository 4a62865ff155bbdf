// Package version holds the version of this build.
package version

import "runtime/debug"

// value is set at link time: -ldflags "-X .../version.value=v1.2.3".
var value string

// String returns the version: the one set at link time, else the module's, else
// the revision it was built from, else "dev".
func String() string {
	if value != "" {
		return value
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return "dev-" + setting.Value[:12]
		}
	}
	return "dev"
}
