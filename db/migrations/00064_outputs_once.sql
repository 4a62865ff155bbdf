-- +goose Up

-- Bytes of the event as it is read: some of its payload is stored only once
-- where the event has it several times.
ALTER TABLE run_events ADD COLUMN size bigint NOT NULL DEFAULT 0;
UPDATE run_events SET size = octet_length(payload);

-- What a tool was given and what it answered is in the events that said so.
ALTER TABLE tool_executions
    ADD COLUMN use_seq bigint,
    ADD COLUMN result_seq bigint,
    -- Bytes of both.
    ADD COLUMN input_size bigint NOT NULL DEFAULT 0,
    ADD COLUMN output_size bigint NOT NULL DEFAULT 0,
    DROP COLUMN input,
    DROP COLUMN output;

-- +goose Down

ALTER TABLE tool_executions
    DROP COLUMN use_seq, DROP COLUMN result_seq, DROP COLUMN input_size, DROP COLUMN output_size,
    ADD COLUMN input bytea NOT NULL DEFAULT '', ADD COLUMN output bytea;
ALTER TABLE run_events DROP COLUMN size;
