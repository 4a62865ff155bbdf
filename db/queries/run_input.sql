-- name: RunInputInsert :exec
INSERT INTO run_inputs (run_id, prompt, config) VALUES (@run_id, @prompt, @config);

-- name: RunInputList :many
SELECT run_id, prompt, config FROM run_inputs WHERE run_id = ANY(@run_ids::uuid[]);

-- A run that has ended is never started again.
-- name: RunInputDelete :exec
DELETE FROM run_inputs WHERE run_id = @run_id;
