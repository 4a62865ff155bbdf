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

-- SessionLockMany locks in one order, so that two callers cannot block each
-- other.
-- name: SessionLockMany :many
SELECT * FROM sessions WHERE id = ANY(@ids::uuid[]) ORDER BY id FOR UPDATE;

-- SessionLockClaimable locks the sessions of the oldest runs that may start now,
-- a session once for each such run. A session that another transaction works on
-- is left out, with all its runs, so no later run of it can be taken instead.
-- The condition on active_run_id is checked again on the locked row. The clock
-- is the statement's: only a time that stays the same can bound an index scan,
-- and a queue may hold many runs for later.
--
-- It leaves sessions with several runs to the caller on purpose: to sort them
-- out here needs a join that the planner, which knows little of a queue that is
-- mostly empty, turns into a scan of the whole queue for each run.
-- name: SessionLockClaimable :many
SELECT s.*
FROM runs r
JOIN sessions s ON s.id = r.session_id
WHERE r.status = 'queued'
  AND r.scheduled_at <= statement_timestamp()
  AND r.schedule_mode = ANY(@schedule_modes::text[])
  AND s.deleted_at IS NULL
  AND s.active_run_id IS NULL
  AND (s.worker_id IS NULL OR s.worker_id = @worker_id::text OR @take_over::boolean AND NOT EXISTS (
      SELECT 1 FROM workers w WHERE w.id = s.worker_id AND w.last_seen > clock_timestamp() - @gone_after::interval))
ORDER BY r.scheduled_at, r.created_at, r.id
LIMIT @max_runs
FOR UPDATE OF s SKIP LOCKED;

-- name: SessionUpdate :exec
UPDATE sessions SET
    project_id = @project_id,
    title = @title,
    status = @status,
    last_seq = @last_seq,
    active_run_id = @active_run_id,
    latest_run_id = @latest_run_id,
    queued_runs = @queued_runs,
    agent_session_ids = @agent_session_ids,
    worker_id = @worker_id,
    export_status = @export_status,
    export_reason = @export_reason,
    export_run_id = @export_run_id,
    manifest_key = @manifest_key,
    archive_key = @archive_key,
    files_prefix = @files_prefix,
    snapshot_key = @snapshot_key,
    snapshot_run_id = @snapshot_run_id,
    deleted_at = @deleted_at,
    idle_since = @idle_since,
    updated_at = @updated_at
WHERE id = @id;

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
