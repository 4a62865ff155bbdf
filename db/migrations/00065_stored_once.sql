-- +goose Up

-- The uploads that a session's prompts came with. One that no session has any
-- more is removed from object storage.
CREATE TABLE attachments (
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    object_key text NOT NULL,
    PRIMARY KEY (session_id, object_key)
);

CREATE INDEX attachments_key ON attachments (object_key);

-- Diffs of changed files, by their SHA-256. A run reports all its changes again
-- and again; what it has reported before is here once.
CREATE TABLE file_diffs (
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    hash bytea NOT NULL,
    diff text NOT NULL,
    PRIMARY KEY (session_id, hash)
);

-- +goose Down
DROP TABLE file_diffs, attachments;
