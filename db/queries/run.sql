-- RunInsert takes the clock after the session's lock, so that runs of a session
-- are in the order in which they were enqueued.
-- name: RunInsert :one
INSERT INTO runs (id, session_id, user_id, schedule_mode, scheduled_at, created_at, client_request_id, request_hash)
SELECT @id, @session_id, @user_id, @schedule_mode, coalesce(sqlc.narg('scheduled_at')::timestamptz, t.now), t.now,
       sqlc.narg('client_request_id'), sqlc.narg('request_hash')
FROM (SELECT clock_timestamp() AS now) t
RETURNING *;

-- name: RunGetOwned :one
SELECT r.* FROM runs r JOIN sessions s ON s.id = r.session_id
WHERE r.id = @id AND r.user_id = @user_id AND s.deleted_at IS NULL;

-- name: RunGetByClientRequest :one
SELECT * FROM runs WHERE user_id = @user_id AND client_request_id = @client_request_id::text;

-- RunLock comes after the lock of the run's session, never before it.
-- name: RunLock :one
SELECT sqlc.embed(runs), coalesce(lease_expires_at > clock_timestamp(), false)::boolean AS lease_valid
FROM runs WHERE id = @id FOR UPDATE;

-- name: RunLockQueued :many
SELECT * FROM runs WHERE session_id = @session_id AND status = 'queued'
ORDER BY scheduled_at, created_at, id FOR UPDATE;

-- RunClaim takes the oldest run that may start now of each given session. The
-- sessions are locked and their runs are read after that, so nothing can come
-- in between.
-- name: RunClaim :many
UPDATE runs SET
    status = 'claimed',
    worker_id = @worker_id::text,
    lease_expires_at = clock_timestamp() + @lease_duration::interval,
    lease_duration = @lease_duration::interval,
    fencing_token = fencing_token + 1,
    attempt = attempt + 1,
    updated_at = clock_timestamp()
WHERE id = ANY(ARRAY(
    SELECT oldest.id
    FROM unnest(@session_ids::uuid[]) AS locked (session_id)
    CROSS JOIN LATERAL (
        SELECT q.id FROM runs q
        WHERE q.session_id = locked.session_id
          AND q.status = 'queued'
          AND q.scheduled_at <= statement_timestamp()
          AND q.schedule_mode = ANY(@schedule_modes::text[])
        ORDER BY q.scheduled_at, q.created_at, q.id
        LIMIT 1
    ) oldest))
RETURNING *;

-- name: RunUpdate :exec
UPDATE runs SET
    status = @status,
    status_reason = @status_reason,
    status_message = @status_message,
    progress = @progress,
    started_at = @started_at,
    finished_at = @finished_at,
    worker_id = @worker_id,
    lease_expires_at = @lease_expires_at,
    fencing_token = @fencing_token,
    last_run_seq = @last_run_seq,
    attempt = @attempt,
    offered_attempt = @offered_attempt,
    prompt_submitted = @prompt_submitted,
    resumes = @resumes,
    cancel_message = @cancel_message,
    files_seq = @files_seq,
    updated_at = clock_timestamp()
WHERE id = @id;

-- RunRenewLeases extends every lease that is still held, also one whose time is
-- over as long as nobody has acted on it: anyone who does takes the token away. The
-- rows are locked in the order of their ids, so that two calls cannot block each
-- other.
-- name: RunRenewLeases :many
WITH held AS (
    SELECT r.id
    FROM runs r
    JOIN (SELECT unnest(@run_ids::uuid[]) AS run_id, unnest(@fencing_tokens::bigint[]) AS fencing_token) l
      ON r.id = l.run_id AND r.fencing_token = l.fencing_token
    WHERE r.worker_id = @worker_id::text
      AND r.status IN ('claimed', 'running', 'canceling')
    ORDER BY r.id
    FOR NO KEY UPDATE OF r
)
UPDATE runs SET lease_expires_at = clock_timestamp() + @lease_duration::interval, lease_duration = @lease_duration::interval
FROM held WHERE runs.id = held.id
RETURNING runs.id, runs.fencing_token;

-- name: RunStatuses :many
SELECT id, status FROM runs WHERE id = ANY(@ids::uuid[]);

-- name: RunListHeld :many
SELECT id, session_id FROM runs
WHERE worker_id = @worker_id::text AND status IN ('claimed', 'running', 'canceling');

-- name: RunAdopt :many
UPDATE runs SET
    fencing_token = fencing_token + 1,
    lease_expires_at = clock_timestamp() + @lease_duration::interval,
    lease_duration = @lease_duration::interval
WHERE id IN (
    SELECT r.id FROM runs r
    WHERE r.session_id = ANY(@session_ids::uuid[])
      AND r.worker_id = @worker_id::text
      AND r.status IN ('claimed', 'running', 'canceling')
    ORDER BY r.id FOR NO KEY UPDATE)
RETURNING *;

-- RunListExpired lists the leases that have run out although their holders had
-- the whole time of a lease to renew them with a backend that was there.
-- name: RunListExpired :many
SELECT id, session_id FROM runs
WHERE lease_expires_at <= statement_timestamp() AND lease_duration <= @present::interval
ORDER BY lease_expires_at
LIMIT @max_runs;

-- RunNextDeadline is when the next lease or question expires, the next worker
-- that has an export to make is gone, or the next run may start. A lease that has run out waits until the backend has been there for
-- its whole time, and for the grace.
-- name: RunNextDeadline :one
SELECT statement_timestamp()::timestamptz AS now, least(
    (SELECT min(r.lease_expires_at) FROM runs r WHERE r.lease_expires_at > statement_timestamp()),
    (SELECT min(statement_timestamp() + greatest(r.lease_duration, @grace::interval) - @present::interval)
     FROM runs r WHERE r.lease_expires_at <= statement_timestamp()),
    (SELECT min(u.expires_at) FROM user_input_requests u WHERE u.status = 'pending'),
    (SELECT min(w.last_seen) + @gone_after::interval FROM workers w
     WHERE w.last_seen > statement_timestamp() - @gone_after::interval
       AND EXISTS (SELECT 1 FROM sessions s WHERE s.worker_id = w.id AND s.export_status = 'pending')),
    (SELECT min(q.scheduled_at) FROM runs q WHERE q.status = 'queued' AND q.scheduled_at > statement_timestamp()),
    statement_timestamp() + interval '1 hour'
)::timestamptz AS deadline;

-- name: RunList :many
SELECT r.* FROM runs r JOIN sessions s ON s.id = r.session_id
WHERE r.user_id = @user_id AND s.deleted_at IS NULL
  AND (cardinality(@statuses::text[]) = 0 OR r.status = ANY(@statuses::text[]))
  AND (r.created_at, r.id) < (@before_created_at::timestamptz, @before_id::uuid)
ORDER BY r.created_at DESC, r.id DESC
LIMIT @page_limit;

-- name: RunListOfSession :many
SELECT * FROM runs
WHERE session_id = @session_id
  AND (cardinality(@statuses::text[]) = 0 OR status = ANY(@statuses::text[]))
  AND (created_at, id) < (@before_created_at::timestamptz, @before_id::uuid)
ORDER BY created_at DESC, id DESC
LIMIT @page_limit;

-- RunAnyDue says whether a scheduled run came due since the last look.
-- name: RunAnyDue :one
SELECT EXISTS (
    SELECT 1 FROM runs WHERE status = 'queued' AND scheduled_at > @after::timestamptz AND scheduled_at <= statement_timestamp()
);

-- RunOtherStarted says whether a session has a run that was ever started,
-- besides one.
-- name: RunOtherStarted :one
SELECT EXISTS (SELECT 1 FROM runs WHERE session_id = @session_id AND id <> @id AND started_at IS NOT NULL);
