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
SELECT * FROM runs WHERE id = @id FOR UPDATE;

-- RunLeaseIsOver comes after the lock of the run.
-- name: RunLeaseIsOver :one
SELECT (lease_expires_at IS NULL OR lease_expires_at <= clock_timestamp())::boolean AS over FROM runs WHERE id = @id;

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

-- RunUpdateMany saves rows. Empty texts and the time 0001-01-01 stand for NULL.
-- name: RunUpdateMany :exec
UPDATE runs SET
    status = u.status,
    status_reason = u.status_reason,
    status_message = u.status_message,
    progress = u.progress,
    started_at = nullif(u.started_at, '0001-01-01 00:00:00Z'),
    finished_at = nullif(u.finished_at, '0001-01-01 00:00:00Z'),
    worker_id = nullif(u.worker_id, ''),
    lease_expires_at = nullif(u.lease_expires_at, '0001-01-01 00:00:00Z'),
    fencing_token = u.fencing_token,
    last_run_seq = u.last_run_seq,
    attempt = u.attempt,
    offered_attempt = u.offered_attempt,
    prompt_submitted = u.prompt_submitted,
    resumes = u.resumes,
    cancel_message = u.cancel_message,
    files_seq = u.files_seq,
    updated_at = clock_timestamp()
FROM (SELECT
    unnest((SELECT @ids::uuid[])::uuid[]) AS id, unnest(@statuses::text[]) AS status, unnest(@status_reasons::text[]) AS status_reason,
    unnest(@status_messages::text[]) AS status_message, unnest(@progresses::integer[]) AS progress,
    unnest(@started_ats::timestamptz[]) AS started_at, unnest(@finished_ats::timestamptz[]) AS finished_at,
    unnest(@worker_ids::text[]) AS worker_id, unnest(@lease_expires_ats::timestamptz[]) AS lease_expires_at,
    unnest(@fencing_tokens::bigint[]) AS fencing_token, unnest(@last_run_seqs::bigint[]) AS last_run_seq,
    unnest(@attempts::integer[]) AS attempt, unnest(@offered_attempts::integer[]) AS offered_attempt,
    unnest(@prompt_submitteds::boolean[]) AS prompt_submitted, unnest(@resumes_counts::integer[]) AS resumes,
    unnest(@cancel_messages::text[]) AS cancel_message, unnest(@files_seqs::bigint[]) AS files_seq
) u
WHERE runs.id = u.id;

-- RunRenewLeases extends every lease that is still held, also one whose time is
-- over as long as nobody has acted on it: anyone who does takes the token away. The
-- rows are locked in the order of their sessions, so that two calls cannot block
-- each other.
-- name: RunRenewLeases :many
WITH held AS (
    SELECT r.id
    FROM runs r
    JOIN (SELECT unnest(@run_ids::uuid[]) AS run_id, unnest(@fencing_tokens::bigint[]) AS fencing_token) l
      ON r.id = l.run_id AND r.fencing_token = l.fencing_token
    WHERE r.worker_id = @worker_id::text
      AND r.status IN ('claimed', 'running', 'canceling')
    ORDER BY r.session_id
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
    ORDER BY r.session_id FOR NO KEY UPDATE)
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
    (SELECT min(s.claimable_at) FROM sessions s WHERE s.claimable_at > statement_timestamp()),
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

-- RunAnyDue says whether a run came due since the last look that may start.
-- name: RunAnyDue :one
SELECT EXISTS (
    SELECT 1 FROM sessions WHERE claimable_at > @after::timestamptz AND claimable_at <= statement_timestamp()
);

-- RunOtherStarted says whether a session has a run that was ever started,
-- besides one.
-- name: RunOtherStarted :one
SELECT EXISTS (SELECT 1 FROM runs WHERE session_id = @session_id AND id <> @id AND started_at IS NOT NULL);
