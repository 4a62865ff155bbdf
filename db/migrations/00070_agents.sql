-- +goose Up

-- Each agent's own id of its conversation, by the agent's name.
ALTER TABLE sessions ADD COLUMN agent_session_ids jsonb NOT NULL DEFAULT '{}';
UPDATE sessions SET agent_session_ids = jsonb_build_object('claude', agent_session_id) WHERE agent_session_id <> '';
ALTER TABLE sessions DROP COLUMN agent_session_id;

UPDATE runs SET status_reason = 'agent' || substr(status_reason, 4)
WHERE status_reason IN ('cli_missing', 'cli_crashed', 'cli_protocol_error');

-- +goose Down
ALTER TABLE sessions ADD COLUMN agent_session_id text NOT NULL DEFAULT '';
UPDATE sessions SET agent_session_id = coalesce(agent_session_ids ->> 'claude', '');
ALTER TABLE sessions DROP COLUMN agent_session_ids;
UPDATE runs SET status_reason = 'cli' || substr(status_reason, 6)
WHERE status_reason IN ('agent_missing', 'agent_crashed', 'agent_protocol_error');
