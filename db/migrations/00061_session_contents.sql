-- +goose Up

-- What a session shows and its prompts inherit, apart from the row that is
-- locked and read for every batch of events.
CREATE TABLE session_contents (
    session_id uuid PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    -- poco.backend.v1.TaskConfig
    config bytea NOT NULL,
    -- poco.backend.v1.SessionState
    state bytea NOT NULL DEFAULT ''
);

INSERT INTO session_contents (session_id, config, state) SELECT id, config, state FROM sessions;

ALTER TABLE sessions DROP COLUMN config, DROP COLUMN state;

-- +goose Down

ALTER TABLE sessions ADD COLUMN config bytea NOT NULL DEFAULT '', ADD COLUMN state bytea NOT NULL DEFAULT '';
UPDATE sessions SET config = c.config, state = c.state FROM session_contents c WHERE c.session_id = sessions.id;
DROP TABLE session_contents;
