-- +goose Up

-- What a run was asked to do, apart from its row: every list, append and cancel
-- reads rows, only a claim needs this. It is dropped when the run has ended.
CREATE TABLE run_inputs (
    run_id uuid PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    prompt text NOT NULL,
    -- poco.backend.v1.TaskConfig
    config bytea NOT NULL
);

INSERT INTO run_inputs (run_id, prompt, config)
SELECT id, prompt, config FROM runs WHERE status NOT IN ('completed', 'failed', 'canceled');

ALTER TABLE runs DROP COLUMN prompt, DROP COLUMN config;

-- +goose Down

ALTER TABLE runs ADD COLUMN prompt text NOT NULL DEFAULT '', ADD COLUMN config bytea NOT NULL DEFAULT '';
UPDATE runs SET prompt = i.prompt, config = i.config FROM run_inputs i WHERE i.run_id = runs.id;
DROP TABLE run_inputs;
