-- name: DeletedSessionInsert :exec
INSERT INTO deleted_sessions (session_id, user_id) VALUES (@session_id, @user_id) ON CONFLICT DO NOTHING;

-- DeletedSessionClaim takes the one that is due for longest, for a while: when
-- anyone who took it does not come back, another one takes it then.
-- name: DeletedSessionClaim :one
UPDATE deleted_sessions SET sweep_at = clock_timestamp() + @hold::interval
WHERE session_id = (
    SELECT d.session_id FROM deleted_sessions d WHERE d.sweep_at <= statement_timestamp()
    ORDER BY d.sweep_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING session_id, user_id, sweeps;

-- name: DeletedSessionSwept :exec
UPDATE deleted_sessions SET sweep_at = clock_timestamp() + @pause::interval, sweeps = sweeps + 1 WHERE session_id = @session_id;

-- name: DeletedSessionPostpone :exec
UPDATE deleted_sessions SET sweep_at = clock_timestamp() + @pause::interval WHERE session_id = @session_id;

-- Something was written for it just now.
-- name: DeletedSessionSoil :exec
UPDATE deleted_sessions SET sweep_at = clock_timestamp(), sweeps = 0 WHERE session_id = @session_id;

-- name: DeletedSessionForget :exec
DELETE FROM deleted_sessions WHERE session_id = @session_id;
