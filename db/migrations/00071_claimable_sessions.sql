-- +goose Up

-- When a session's next run may start; null while none may, because one is
-- active or none waits. A claim begins here, so that what waits behind a run
-- costs nothing.
ALTER TABLE sessions ADD COLUMN claimable_at timestamptz;
UPDATE sessions SET claimable_at = (SELECT min(r.scheduled_at) FROM runs r WHERE r.session_id = sessions.id AND r.status = 'queued')
WHERE active_run_id IS NULL AND deleted_at IS NULL AND queued_runs > 0;
CREATE INDEX sessions_claimable ON sessions (claimable_at, id) WHERE claimable_at IS NOT NULL;
DROP INDEX runs_queue;

-- Questions of the active run that wait for an answer: most runs end without one.
ALTER TABLE sessions ADD COLUMN open_questions integer NOT NULL DEFAULT 0 CHECK (open_questions >= 0);
UPDATE sessions SET open_questions = q.open
FROM (SELECT session_id, count(*) AS open FROM user_input_requests WHERE status = 'pending' GROUP BY session_id) q
WHERE q.session_id = sessions.id;

-- Room for what is written for each batch of events, which no index has.
ALTER TABLE sessions SET (fillfactor = 80);
ALTER TABLE runs SET (fillfactor = 80);

-- +goose Down

ALTER TABLE runs RESET (fillfactor);
ALTER TABLE sessions RESET (fillfactor);
CREATE INDEX runs_queue ON runs (scheduled_at, created_at, id) WHERE status = 'queued';
ALTER TABLE sessions DROP COLUMN claimable_at, DROP COLUMN open_questions;
