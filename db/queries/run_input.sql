-- name: RunInputInsert :exec
INSERT INTO run_inputs (run_id, prompt, config) VALUES (@run_id, @prompt, @config);

-- name: RunInputGet :one
SELECT prompt, config FROM run_inputs WHERE run_id = @run_id;

-- A run that has ended is never started again.
-- name: RunInputDelete :exec
DELETE FROM run_inputs WHERE run_id = @run_id;
