package stack

import (
	"maps"
	"slices"

	configv1 "github.com/poco-ai/poco/gen/go/poco/config/v1"
	"github.com/poco-ai/poco/services/internal/config"
)

// composeSettings are what an environment made for a compose stack says that
// the embedded servers can follow, and what they cannot.
type composeSettings struct {
	s3Port, postgresPort int
	// s3PortSetting and postgresPortSetting are the variables that the ports come
	// from.
	s3PortSetting, postgresPortSetting string
	// set are the variables of the compose stack that have a value.
	set map[string]bool
}

// Why poco up has no use for a setting of the compose stack. Those that it
// follows are not here.
const (
	noImage       = "poco up runs its S3 server without a container"
	noConsole     = "the embedded S3 server has no console"
	dataInOwn     = "poco up keeps everything in its data folder: choose it with --data-dir or POCO_DATA_DIR"
	ownAccount    = "the embedded Postgres has an account and a database of its own: use DATABASE_URL for another server"
	otherPostgres = "DATABASE_URL names another Postgres"
	otherS3       = "S3_ENDPOINT names another S3 server"
)

var unusedByUp = map[string]string{
	"POSTGRES_DB":       ownAccount,
	"POSTGRES_USER":     ownAccount,
	"POSTGRES_PASSWORD": ownAccount,
	"RUSTFS_IMAGE":      noImage,
	"RUSTFS_DATA_DIR":   dataInOwn,
	"S3_CONSOLE_PORT":   noConsole,
}

// loadCompose reads the compose stack's settings. The ports of its servers are
// those of the embedded ones, unless the command's own variables are set.
func loadCompose(src config.Sources, poco *config.Loaded[*configv1.PocoConfig]) (*composeSettings, error) {
	stack, err := config.Load(&configv1.StackConfig{}, "stack", src)
	if err != nil {
		return nil, err
	}
	c := &composeSettings{set: map[string]bool{}}
	for _, field := range stack.Report().GetFields() {
		c.set[field.GetEnv()] = isSet(field)
	}
	choose := func(own string, ownPort int32, theirs string, theirPort int32) (int, string) {
		if c.set[theirs] && !isSet(config.FieldOf(poco.Report(), own)) {
			return int(theirPort), theirs
		}
		return int(ownPort), own
	}
	c.s3Port, c.s3PortSetting = choose("POCO_S3_PORT", poco.Msg.GetEmbeddedS3Port(), "S3_PORT", stack.Msg.GetObjectStore().GetPort())
	c.postgresPort, c.postgresPortSetting = choose("POCO_POSTGRES_PORT", poco.Msg.GetEmbeddedPostgresPort(),
		"POSTGRES_PORT", stack.Msg.GetPostgres().GetPort())
	return c, nil
}

func isSet(field *configv1.ConfigField) bool {
	return field.GetSource() > configv1.ConfigSource_CONFIG_SOURCE_EMBEDDED
}

// unused tells which variables of the compose stack are set and have no effect
// here.
func (c *composeSettings) unused(ownPostgres, ownS3 bool) []string {
	var lines []string
	for _, env := range slices.Sorted(maps.Keys(c.set)) {
		why := unusedByUp[env]
		switch {
		case env == "POSTGRES_PORT" && !ownPostgres:
			why = otherPostgres
		case env == "S3_PORT" && !ownS3:
			why = otherS3
		}
		if c.set[env] && why != "" {
			lines = append(lines, env+" is set and has no effect: "+why)
		}
	}
	return lines
}
