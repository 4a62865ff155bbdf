-- +goose Up

-- The session's event that has all the files a run has changed, with their
-- diffs; 0 while there is none.
ALTER TABLE runs ADD COLUMN files_seq bigint NOT NULL DEFAULT 0;

-- +goose Down

ALTER TABLE runs DROP COLUMN files_seq;
