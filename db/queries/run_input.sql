-- name: RunInputInsert :exec
INSERT INTO run_inputs (run_id, prompt, config) VALUES (@run_id, @prompt, @config);

-- name: RunInputList :many
SELECT run_id, prompt, config FROM run_inputs WHERE run_id = ANY((SELECT @run_ids::uuid[])::uuid[]);

-- A run that has ended is never started again.
-- name: RunInputDeleteMany :exec
DELETE FROM run_inputs WHERE run_id = ANY((SELECT @run_ids::uuid[])::uuid[]);
