// Package postgresurl reads DATABASE_URL. What checks the setting and what
// connects with it does so here, so that a check promises what a start keeps.
package postgresurl

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// InvalidError is why a connection string cannot be used and what to do. It holds
// nothing of the string but names of parameters.
type InvalidError struct{ Message, Fix string }

// Error implements error.
func (c *InvalidError) Error() string { return c.Message + ": " + c.Fix }

// driverOfURL is the scheme of a URL that names a driver of another language,
// as SQLAlchemy's do: postgresql+psycopg://.
var driverOfURL = regexp.MustCompile(`^(postgres(?:ql)?)\+\w+://`)

// Plain is the string without the name of another language's driver.
func Plain(text string) string { return driverOfURL.ReplaceAllString(text, "$1://") }

// foreign are parameters of other drivers and what to do about each. This one
// would send them to the server, which refuses a connection with a parameter
// that it does not know.
var foreign = map[string]string{
	"schema":                        "write search_path= instead of schema=",
	"currentschema":                 "write search_path= instead of currentSchema=",
	"ssl":                           "write sslmode=require instead of ssl=true, sslmode=disable instead of ssl=false",
	"pgbouncer":                     leaveOut,
	"connection_limit":              "leave it out, and set DATABASE_MAX_CONNECTIONS",
	"pool_size":                     "leave it out, and set DATABASE_MAX_CONNECTIONS",
	"pool_timeout":                  leaveOut,
	"max_overflow":                  leaveOut,
	"sslaccept":                     "write sslmode=require or sslmode=verify-full instead",
	"sslidentity":                   leaveOut,
	"socket_timeout":                leaveOut,
	"single_use_connections":        leaveOut,
	"prepared_statement_cache_size": "write statement_cache_capacity= instead",
	"prepared_statement_name_func":  leaveOut,
	"command_timeout":               "write statement_timeout= instead, in milliseconds",
	"async_fallback":                leaveOut,
	"server_settings":               "write each setting as a parameter of its own",
	"charset":                       "write client_encoding= instead of charset=",
	"encoding":                      "write client_encoding= instead of encoding=",
	"sslfactory":                    leaveOut,
	"preferquerymode":               leaveOut,
	"hostaddr":                      "write the address as the host",
	"sslcrl":                        leaveOut,
	"sslcrldir":                     leaveOut,
	"sslcompression":                leaveOut,
	"requiressl":                    "write sslmode=require instead",
	"requirepeer":                   leaveOut,
	"gssencmode":                    leaveOut,
	"gsslib":                        leaveOut,
	"gssdelegation":                 leaveOut,
	"keepalives":                    leaveOut,
	"keepalives_idle":               leaveOut,
	"keepalives_interval":           leaveOut,
	"keepalives_count":              leaveOut,
	"tcp_user_timeout":              leaveOut,
	"load_balance_hosts":            leaveOut,
	"fallback_application_name":     "write application_name= instead",
	"ssl_min_protocol_version":      leaveOut,
	"ssl_max_protocol_version":      leaveOut,
}

const leaveOut = "leave it out"

// reasons are what the driver's errors say, as a person can act on it. What
// else they say may quote the string.
var reasons = []struct {
	said string
	InvalidError
}{
	{"sslmode is invalid", InvalidError{"has an sslmode that does not exist", "write disable, allow, prefer, require, verify-ca or verify-full"}},
	{"unable to read CA file", InvalidError{"names a file with sslrootcert that cannot be read", "correct the path, or the file's permissions"}},
	{"unable to add CA", InvalidError{"names a file with sslrootcert that holds no certificate", "name a PEM file"}},
	{`"sslcert" and "sslkey"`, InvalidError{"has one of sslcert and sslkey", "write both or none"}},
	{"sslkey", InvalidError{"names a file with sslkey that is no readable key", "name a PEM file that this user may read"}},
	{"sslpassword", InvalidError{"has an encrypted sslkey and no sslpassword", "add sslpassword="}},
	{"unable to decrypt key", InvalidError{"has an sslpassword that does not open the sslkey", "correct it"}},
	{"unable to read cert", InvalidError{"names a file with sslcert that cannot be read", "correct the path, or the file's permissions"}},
	{"unable to load cert", InvalidError{"names an sslcert that does not go with its sslkey", "name the two files of one certificate"}},
	{"invalid port", InvalidError{"has a port that is none", "write a number from 1 to 65535"}},
	{"port numbers to", InvalidError{"has another number of ports than of hosts", "write one port, or one for each host"}},
	{"connect_timeout", InvalidError{"has a connect_timeout that is no number of seconds", "correct it, or leave it out"}},
	{"target_session_attrs", InvalidError{"has a target_session_attrs that does not exist", "write read-write, or leave it out"}},
	{"channel_binding", InvalidError{"has a channel_binding that does not exist", "write prefer, require or disable, or leave it out"}},
	{"require_auth", InvalidError{"has a require_auth that does not exist", "correct it, or leave it out"}},
	{"protocol_version", InvalidError{"has a protocol version that does not exist", leaveOut}},
	{"sslcertmode", InvalidError{"has an sslcertmode that does not exist", "write allow, disable or require, or leave it out"}},
	{"pool_", InvalidError{"has a parameter pool_… that cannot be read", "correct it, or leave it out"}},
	{"statement_cache_capacity", InvalidError{"has a statement_cache_capacity that is no number", "correct it, or leave it out"}},
	{"description_cache_capacity", InvalidError{"has a description_cache_capacity that is no number", "correct it, or leave it out"}},
	{"default_query_exec_mode", InvalidError{"has a default_query_exec_mode that does not exist", "correct it, or leave it out"}},
	{"service", InvalidError{"names a service that cannot be read", "correct service= or servicefile="}},
}

// Parse reads a connection string as the backend's pool is opened with it. The
// error is a *InvalidError.
func Parse(text string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(Plain(text))
	if err != nil {
		for _, r := range reasons {
			if strings.Contains(err.Error(), r.said) {
				return nil, &r.InvalidError
			}
		}
		return nil, &InvalidError{"is not a connection string", "write postgres://user:password@host:5432/database"}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.ConnConfig.RuntimeParams)) {
		if fix := foreign[strings.ToLower(name)]; fix != "" {
			return nil, &InvalidError{"has the parameter " + strings.ToLower(name) + ", which is another driver's, and which the server refuses", fix}
		}
	}
	return cfg, nil
}
