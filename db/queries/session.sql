-- name: SessionInsert :exec
INSERT INTO sessions (id, user_id, project_id, title, created_at, updated_at)
VALUES (@id, @user_id, @project_id, @title, @created_at, @created_at);

-- name: SessionGetOwned :one
SELECT * FROM sessions WHERE id = @id AND user_id = @user_id AND deleted_at IS NULL;

-- SessionLock takes the lock that orders everything about a session.
-- name: SessionLock :one
SELECT * FROM sessions WHERE id = @id FOR UPDATE;

-- SessionLockWithRun locks a run's session, and then the run: rows are locked in
-- the order in which FOR UPDATE names them, and both come as they are then.
-- name: SessionLockWithRun :one
SELECT sqlc.embed(s), sqlc.embed(r) FROM sessions s JOIN runs r ON r.session_id = s.id
WHERE r.id = @run_id
FOR UPDATE OF s, r;

-- SessionLockFreeWithRuns does the same for several runs, but for those that are
-- locked. Here and elsewhere, an array in a subselect has the planner make one plan
-- for arrays of all lengths, instead of one each time.
-- name: SessionLockFreeWithRuns :many
SELECT sqlc.embed(s), sqlc.embed(r) FROM sessions s JOIN runs r ON r.session_id = s.id
WHERE r.id = ANY((SELECT @run_ids::uuid[])::uuid[])
FOR UPDATE OF s, r SKIP LOCKED;

-- SessionLockMany locks in one order, so that two callers cannot block each
-- other.
-- name: SessionLockMany :many
SELECT * FROM sessions WHERE id = ANY(@ids::uuid[]) ORDER BY id FOR UPDATE;

-- SessionLockClaimable locks the sessions whose next run has waited longest. A
-- session that another transaction works on is left out. That it is claimable is
-- checked again on the locked row. The clock is the statement's: only a time that
-- stays the same can bound an index scan, and a queue may hold many runs for later.
-- Whether a run has a mode that is asked for is a scalar on purpose: a join would
-- tempt the planner, which knows little of a queue that is mostly empty.
-- name: SessionLockClaimable :many
SELECT s.*
FROM sessions s
WHERE s.claimable_at <= statement_timestamp()
  AND coalesce((
      SELECT true FROM runs r
      WHERE r.session_id = s.id AND r.status = 'queued' AND r.scheduled_at <= statement_timestamp()
        AND r.schedule_mode = ANY(@schedule_modes::text[])
      ORDER BY r.scheduled_at, r.created_at, r.id
      LIMIT 1), false)
  AND (s.worker_id IS NULL OR s.worker_id = @worker_id::text OR @take_over::boolean AND NOT EXISTS (
      SELECT 1 FROM workers w WHERE w.id = s.worker_id AND w.last_seen > clock_timestamp() - @gone_after::interval))
ORDER BY s.claimable_at, s.id
LIMIT @max_runs
FOR UPDATE OF s SKIP LOCKED;

-- SessionUpdateMany saves rows, after their runs. Empty texts and the time
-- 0001-01-01 stand for NULL.
-- name: SessionUpdateMany :exec
UPDATE sessions SET
    project_id = nullif(u.project_id, '')::uuid,
    title = u.title,
    status = u.status,
    last_seq = u.last_seq,
    active_run_id = nullif(u.active_run_id, '')::uuid,
    latest_run_id = nullif(u.latest_run_id, '')::uuid,
    queued_runs = u.queued_runs,
    open_questions = u.open_questions,
    claimable_at = CASE WHEN u.active_run_id = '' AND u.deleted_at = '0001-01-01 00:00:00Z' AND u.queued_runs > 0 THEN (
        SELECT min(q.scheduled_at) FROM runs q WHERE q.session_id = u.id AND q.status = 'queued') END,
    agent_session_ids = u.agent_session_ids::jsonb,
    worker_id = nullif(u.worker_id, ''),
    export_status = u.export_status,
    export_reason = u.export_reason,
    export_run_id = nullif(u.export_run_id, '')::uuid,
    manifest_key = u.manifest_key,
    archive_key = u.archive_key,
    files_prefix = u.files_prefix,
    snapshot_key = u.snapshot_key,
    snapshot_run_id = nullif(u.snapshot_run_id, '')::uuid,
    deleted_at = nullif(u.deleted_at, '0001-01-01 00:00:00Z'),
    idle_since = nullif(u.idle_since, '0001-01-01 00:00:00Z'),
    updated_at = u.updated_at
FROM (SELECT
    unnest((SELECT @ids::uuid[])::uuid[]) AS id, unnest(@project_ids::text[]) AS project_id, unnest(@titles::text[]) AS title,
    unnest(@statuses::text[]) AS status, unnest(@last_seqs::bigint[]) AS last_seq,
    unnest(@active_run_ids::text[]) AS active_run_id, unnest(@latest_run_ids::text[]) AS latest_run_id,
    unnest(@queued_runs_counts::integer[]) AS queued_runs, unnest(@open_questions_counts::integer[]) AS open_questions,
    unnest(@agent_session_ids::text[]) AS agent_session_ids, unnest(@worker_ids::text[]) AS worker_id,
    unnest(@export_statuses::text[]) AS export_status, unnest(@export_reasons::text[]) AS export_reason,
    unnest(@export_run_ids::text[]) AS export_run_id, unnest(@manifest_keys::text[]) AS manifest_key,
    unnest(@archive_keys::text[]) AS archive_key, unnest(@files_prefixes::text[]) AS files_prefix,
    unnest(@snapshot_keys::text[]) AS snapshot_key, unnest(@snapshot_run_ids::text[]) AS snapshot_run_id,
    unnest(@deleted_ats::timestamptz[]) AS deleted_at, unnest(@idle_sinces::timestamptz[]) AS idle_since,
    unnest(@updated_ats::timestamptz[]) AS updated_at
) u
WHERE sessions.id = u.id;

-- SessionList ends a page with the row that brings it over max_bytes, and reads
-- contents only when they are wanted. Their sizes are known without reading them; candidates is how many rows there were
-- before that cut.
-- name: SessionList :many
SELECT sqlc.embed(sessions), listed.candidates,
       CASE WHEN @with_contents::boolean THEN session_contents.config ELSE '' END::bytea AS config,
       CASE WHEN @with_contents::boolean THEN session_contents.state ELSE '' END::bytea AS state
FROM (
    SELECT page.id, count(*) OVER () AS candidates,
           sum(CASE WHEN @with_contents::boolean THEN octet_length(c.config) + octet_length(c.state) ELSE 0 END) OVER (
               ORDER BY page.created_at DESC, page.id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT s.id, s.created_at FROM sessions s
        WHERE s.user_id = @user_id AND s.deleted_at IS NULL
          AND (s.created_at, s.id) < (@before_created_at::timestamptz, @before_id::uuid)
        ORDER BY s.created_at DESC, s.id DESC
        LIMIT @page_limit
    ) page
    JOIN session_contents c ON c.session_id = page.id
) listed
JOIN sessions ON sessions.id = listed.id
JOIN session_contents ON session_contents.session_id = listed.id
WHERE coalesce(listed.before, 0) <= @max_bytes::bigint
ORDER BY sessions.created_at DESC, sessions.id DESC;

-- name: SessionListOfProject :many
SELECT sqlc.embed(sessions), listed.candidates,
       CASE WHEN @with_contents::boolean THEN session_contents.config ELSE '' END::bytea AS config,
       CASE WHEN @with_contents::boolean THEN session_contents.state ELSE '' END::bytea AS state
FROM (
    SELECT page.id, count(*) OVER () AS candidates,
           sum(CASE WHEN @with_contents::boolean THEN octet_length(c.config) + octet_length(c.state) ELSE 0 END) OVER (
               ORDER BY page.created_at DESC, page.id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT s.id, s.created_at FROM sessions s
        WHERE s.user_id = @user_id AND s.project_id = @project_id::uuid AND s.deleted_at IS NULL
          AND (s.created_at, s.id) < (@before_created_at::timestamptz, @before_id::uuid)
        ORDER BY s.created_at DESC, s.id DESC
        LIMIT @page_limit
    ) page
    JOIN session_contents c ON c.session_id = page.id
) listed
JOIN sessions ON sessions.id = listed.id
JOIN session_contents ON session_contents.session_id = listed.id
WHERE coalesce(listed.before, 0) <= @max_bytes::bigint
ORDER BY sessions.created_at DESC, sessions.id DESC;

-- name: SessionGetMany :many
SELECT sqlc.embed(sessions), sqlc.embed(session_contents) FROM sessions
JOIN session_contents ON session_contents.session_id = sessions.id
WHERE sessions.id = ANY(@ids::uuid[]) AND sessions.user_id = @user_id;

-- SessionLastSeqs is the backup for hints that were missed.
-- name: SessionLastSeqs :many
SELECT id, last_seq, (deleted_at IS NOT NULL)::boolean AS deleted FROM sessions WHERE id = ANY(@ids::uuid[]);

-- SessionIsIdle says whether nothing more is to be expected after last_seq.
-- name: SessionIsIdle :one
SELECT (s.active_run_id IS NULL AND s.export_status <> 'pending' AND NOT EXISTS (
    SELECT 1 FROM runs r WHERE r.session_id = s.id AND r.status = 'queued' AND r.scheduled_at <= statement_timestamp()
))::boolean AS idle, s.last_seq
FROM sessions s WHERE s.id = @id;

-- name: SessionListPendingExports :many
SELECT id, export_run_id, user_id FROM sessions
WHERE worker_id = @worker_id::text AND export_status = 'pending' AND active_run_id IS NULL AND deleted_at IS NULL
ORDER BY updated_at;

-- SessionListOrphanedExports lists the exports that are pending by workers that are
-- gone. Pending exports are few.
-- name: SessionListOrphanedExports :many
SELECT s.id FROM sessions s
WHERE s.export_status = 'pending' AND s.active_run_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = s.worker_id AND w.last_seen > clock_timestamp() - @gone_after::interval)
LIMIT @max_sessions;

-- SessionListIdle lists sessions that nothing was asked of for long, those
-- first that were idle longest.
-- name: SessionListIdle :many
SELECT id, idle_since FROM sessions
WHERE deleted_at IS NULL AND idle_since < clock_timestamp() - @idle_for::interval
  AND export_status <> 'pending'
ORDER BY idle_since
LIMIT @max_sessions;

-- name: SessionListSnapshots :many
SELECT id, snapshot_key FROM sessions WHERE id = ANY(@ids::uuid[]);
