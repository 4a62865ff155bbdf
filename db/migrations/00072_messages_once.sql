-- +goose Up

-- What a message says, and who said it when, is in its event.
ALTER TABLE messages DROP COLUMN run_id, DROP COLUMN role, DROP COLUMN text_preview, DROP COLUMN created_at;

-- +goose Down

ALTER TABLE messages
    ADD COLUMN run_id uuid,
    ADD COLUMN role text NOT NULL DEFAULT '' CHECK (role IN ('', 'user', 'assistant', 'system')),
    ADD COLUMN text_preview text NOT NULL DEFAULT '',
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
