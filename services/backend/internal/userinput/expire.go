package userinput

import (
	"context"
	"errors"
	"fmt"

	"github.com/poco-ai/poco/db/dbtype"
	"github.com/poco-ai/poco/services/backend/internal/store"
)

// expireBatch bounds one look for expired questions.
const expireBatch = 100

// ExpireAll marks every open question whose time is over. One that cannot be
// marked holds up no other.
func ExpireAll(ctx context.Context, st *store.Store) error {
	expired, err := st.Read().UserInputRequestListExpired(ctx, expireBatch)
	if err != nil {
		return fmt.Errorf("list expired questions: %w", err)
	}
	var errs []error
	for _, e := range expired {
		err := st.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			s, err := tx.LockSession(ctx, e.SessionID)
			if err != nil {
				return err
			}
			row, err := tx.Q.UserInputRequestLock(ctx, e.ID)
			if err != nil {
				return fmt.Errorf("lock question: %w", err)
			}
			if row.UserInputRequest.Status != dbtype.InputPending || !row.Expired {
				return nil
			}
			return resolve(ctx, s, &row.UserInputRequest, dbtype.InputExpired, nil, nil)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("expire question %s: %w", e.ID, err))
		}
	}
	return errors.Join(errs...)
}
