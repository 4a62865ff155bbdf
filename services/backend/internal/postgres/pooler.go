package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoSessions says that what stands before Postgres gives a connection's
// statements to whichever server connection is free.
var ErrNoSessions = errors.New("DATABASE_URL leads to a connection pooler that keeps no sessions, " +
	"such as PgBouncer with pool_mode = transaction: notifications are lost there, and prepared statements fail. " +
	"Point DATABASE_URL at Postgres itself, or set pool_mode = session for this database")

const (
	// checkChannel is the channel of CheckSessions.
	checkChannel = "poco_check"
	// NotifyTimeout is how long a notification may take between two connections
	// that both work: it is milliseconds.
	NotifyTimeout = 5 * time.Second
)

// CheckSessions finds out whether a connection keeps what it is told, as LISTEN
// and prepared statements need: one connection listens, another one notifies.
func CheckSessions(ctx context.Context, cfg *pgx.ConnConfig) (err error) {
	listening, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("check the database's sessions: %w", err)
	}
	defer func() { err = errors.Join(err, listening.Close(ctx)) }()
	if _, err := listening.Exec(ctx, "LISTEN "+checkChannel); err != nil {
		return fmt.Errorf("check the database's sessions: %w", err)
	}
	notifying, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("check the database's sessions: %w", err)
	}
	defer func() { err = errors.Join(err, notifying.Close(ctx)) }()
	if _, err := notifying.Exec(ctx, "NOTIFY "+checkChannel); err != nil {
		return fmt.Errorf("check the database's sessions: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, NotifyTimeout)
	defer cancel()
	_, err = listening.WaitForNotification(waiting)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return ErrNoSessions
	}
	if err != nil {
		return fmt.Errorf("check the database's sessions: %w", err)
	}
	return nil
}
