-- name: RunCommandInsert :exec
INSERT INTO run_commands (id, worker_id, run_id, session_id, kind, command)
VALUES (@id, @worker_id, @run_id, @session_id, @kind, @command);

-- name: RunCommandListIDs :many
SELECT id FROM run_commands WHERE worker_id = @worker_id ORDER BY created_at, id;

-- name: RunCommandGet :one
SELECT command FROM run_commands WHERE id = @id;

-- name: RunCommandDelete :exec
DELETE FROM run_commands WHERE id = @id AND worker_id = @worker_id;

-- A run that no worker holds needs no cancel and no answer any more.
-- name: RunCommandDeleteOfRuns :exec
DELETE FROM run_commands WHERE run_id = ANY((SELECT @run_ids::uuid[])::uuid[]) AND kind IN ('cancel', 'answer');

-- name: RunCommandDeleteExports :exec
DELETE FROM run_commands WHERE session_id = @session_id AND kind = 'export';
