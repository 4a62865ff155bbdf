// Package dbtype has the types of columns that are more than SQL knows.
package dbtype

// StringMap is a jsonb object of strings.
type StringMap map[string]string
