package postgresurl_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/poco-ai/poco/services/internal/postgresurl"
)

func TestParse(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(notPEM, []byte("hello"), 0o600))
	for name, c := range map[string]struct{ text, says, fix string }{
		"plain":                {text: "postgres://u:p@h:5432/d"},
		"of SQLAlchemy":        {text: "postgresql+psycopg://u:p@h/d?sslmode=disable"},
		"of SQLAlchemy, async": {text: "postgresql+asyncpg://u:p@h/d"},
		"short, with a driver": {text: "postgres+psycopg2://u:p@h/d"},
		"keywords":             {text: "host=h user=u dbname=d sslmode=disable"},
		"what the server has":  {text: "postgres://u:p@h/d?search_path=x&statement_timeout=5000&application_name=a&options=-c%20x%3Dy"},
		"sslmode":              {text: "postgres://u:p@h/d?sslmode=yes", says: "sslmode", fix: "verify-full"},
		"sslmode, keywords":    {text: "host=h user=u dbname=d sslmode=true", says: "sslmode", fix: "verify-full"},
		"no certificate there": {text: "postgres://u:p@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", says: "sslrootcert", fix: "path"},
		"no certificate in it": {text: "postgres://u:p@h/d?sslmode=verify-full&sslrootcert=" + notPEM, says: "sslrootcert", fix: "PEM"},
		"half a certificate":   {text: "postgres://u:p@h/d?sslmode=require&sslcert=/x", says: "sslcert", fix: "both"},
		"port":                 {text: "postgres://u:p@h:99999/d", says: "port", fix: "65535"},
		"timeout":              {text: "postgres://u:p@h/d?connect_timeout=soon", says: "connect_timeout"},
		"of Prisma":            {text: "postgres://u:p@h/d?schema=public", says: "schema", fix: "search_path"},
		"of Prisma, pooled":    {text: "postgres://u:p@h/d?pgbouncer=true", says: "pgbouncer", fix: "leave it out"},
		"of asyncpg":           {text: "postgresql+asyncpg://u:p@h/d?ssl=require", says: "ssl", fix: "sslmode=require"},
		"of JDBC":              {text: "postgres://u:p@h/d?currentSchema=x", says: "currentschema", fix: "search_path"},
		"pool":                 {text: "postgres://u:p@h/d?pool_max_conns=many", says: "pool_"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := postgresurl.Parse(c.text)
			if c.says == "" {
				require.NoError(t, err)
				require.Equal(t, "h", cfg.ConnConfig.Host)
				return
			}
			var complaint *postgresurl.InvalidError
			require.ErrorAs(t, err, &complaint)
			require.Contains(t, complaint.Message, c.says)
			require.Contains(t, complaint.Fix, c.fix)
		})
	}
}
