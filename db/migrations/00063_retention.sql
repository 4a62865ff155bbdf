-- +goose Up

-- Sessions that are to leave nothing behind. Objects may still be written for
-- one that is deleted, by a manager that does not know yet, so a row stays after
-- the session's own is gone and is swept again and again, less and less often.
CREATE TABLE deleted_sessions (
    session_id uuid PRIMARY KEY,
    user_id text NOT NULL,
    -- When to look next, and how often that was done.
    sweep_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sweeps integer NOT NULL DEFAULT 0
);

CREATE INDEX deleted_sessions_due ON deleted_sessions (sweep_at);

INSERT INTO deleted_sessions (session_id, user_id) SELECT id, user_id FROM sessions WHERE deleted_at IS NOT NULL;

-- Since when no run of a session waits or works; null while one does. Unlike
-- updated_at it stays the same while events come in, so its index costs them
-- nothing.
ALTER TABLE sessions ADD COLUMN idle_since timestamptz;
UPDATE sessions SET idle_since = updated_at WHERE active_run_id IS NULL AND queued_runs = 0;
CREATE INDEX sessions_idle ON sessions (idle_since) WHERE deleted_at IS NULL AND idle_since IS NOT NULL;

-- That a session is deleted is told to workers after its row is gone.
ALTER TABLE run_commands
    DROP CONSTRAINT run_commands_session_id_fkey,
    ALTER COLUMN run_id DROP NOT NULL,
    DROP CONSTRAINT run_commands_kind_check,
    ADD CONSTRAINT run_commands_kind_check CHECK (kind IN ('cancel', 'answer', 'export', 'delete'));
CREATE INDEX run_commands_session ON run_commands (session_id);

-- +goose Down

DELETE FROM run_commands WHERE kind = 'delete' OR session_id NOT IN (SELECT id FROM sessions);
DROP INDEX run_commands_session;
ALTER TABLE run_commands
    DROP CONSTRAINT run_commands_kind_check,
    ADD CONSTRAINT run_commands_kind_check CHECK (kind IN ('cancel', 'answer', 'export')),
    ALTER COLUMN run_id SET NOT NULL,
    ADD CONSTRAINT run_commands_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE;
ALTER TABLE sessions DROP COLUMN idle_since;
DROP TABLE deleted_sessions;
