-- +goose Up

-- The private snapshot of the workspace in object storage, and the run whose
-- end it shows.
ALTER TABLE sessions
    ADD COLUMN snapshot_key text NOT NULL DEFAULT '',
    ADD COLUMN snapshot_run_id uuid;

-- +goose Down

ALTER TABLE sessions DROP COLUMN snapshot_key, DROP COLUMN snapshot_run_id;
