// Package composetest brings the compose stack up as people do, and uses it.
package composetest
