-- What belongs to a deleted session is removed a batch at a time, the largest
-- first, so that no transaction is long.

-- name: PurgeRunEvents :execrows
DELETE FROM run_events x WHERE x.session_id = @session_id
  AND x.seq IN (SELECT e.seq FROM run_events e WHERE e.session_id = @session_id ORDER BY e.seq LIMIT @max_rows);

-- name: PurgeFileDiffs :execrows
DELETE FROM file_diffs x WHERE x.session_id = @session_id
  AND x.hash IN (SELECT d.hash FROM file_diffs d WHERE d.session_id = @session_id ORDER BY d.hash LIMIT @max_rows);

-- name: PurgeMessages :execrows
DELETE FROM messages x WHERE x.session_id = @session_id
  AND x.seq IN (SELECT m.seq FROM messages m WHERE m.session_id = @session_id ORDER BY m.seq LIMIT @max_rows);

-- name: PurgeToolExecutions :execrows
DELETE FROM tool_executions WHERE id IN (
    SELECT t.id FROM tool_executions t WHERE t.session_id = @session_id ORDER BY t.seq, t.id LIMIT @max_rows);

-- name: PurgeUserInputRequests :execrows
DELETE FROM user_input_requests WHERE id IN (
    SELECT u.id FROM user_input_requests u WHERE u.session_id = @session_id ORDER BY u.created_at, u.id LIMIT @max_rows);

-- Usage and inputs go with their runs.
-- name: PurgeRuns :execrows
DELETE FROM runs WHERE id IN (
    SELECT r.id FROM runs r WHERE r.session_id = @session_id ORDER BY r.created_at DESC, r.id DESC LIMIT @max_rows);

-- name: PurgeCommands :exec
DELETE FROM run_commands WHERE session_id = @session_id AND kind <> 'delete';

-- name: PurgeSession :exec
DELETE FROM sessions WHERE id = @id;

-- Nobody is left to do what such a worker was to do about a deleted session.
-- name: PurgeCommandsOfNobody :exec
DELETE FROM run_commands c WHERE c.kind = 'delete' AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = c.worker_id);
