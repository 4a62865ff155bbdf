// Package migrations holds the schema of the database and brings a database up
// to it.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

// Apply brings the database up to the newest schema. Several processes may call
// it at once: an advisory lock lets one of them work while the others wait. A
// database whose schema is newer than this program's is refused.
func Apply(ctx context.Context, db *sql.DB) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	current, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the database's schema: %w", err)
	}
	if current > newest {
		return tooNew(current, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// Check refuses a database whose schema is not this program's.
func Check(ctx context.Context, db *sql.DB) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	current, newest, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("read the version of the database's schema: %w", err)
	case current > newest:
		return tooNew(current, newest)
	case current < newest:
		return fmt.Errorf("the schema of the database has version %d and this program needs %d: let one backend start with RUN_MIGRATIONS=true", current, newest)
	}
	return nil
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, fmt.Errorf("make the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return provider, nil
}

func tooNew(current, newest int64) error {
	return fmt.Errorf("the schema of the database has version %d, which a newer program has made; this one knows up to %d: start that program, or give this one an empty database",
		current, newest)
}
