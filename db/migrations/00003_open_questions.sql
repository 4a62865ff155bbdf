-- +goose Up

-- The few open questions among all that a user was ever asked.
CREATE INDEX user_input_requests_user_open ON user_input_requests (user_id, created_at, id) WHERE status = 'pending';

-- +goose Down

DROP INDEX user_input_requests_user_open;
