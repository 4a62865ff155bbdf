-- +goose Up

-- A user's runs in one state, the newest first: the few that failed among all.
CREATE INDEX runs_status_list ON runs (user_id, status, created_at DESC, id DESC);

-- +goose Down

DROP INDEX runs_status_list;
