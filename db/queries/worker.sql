-- WorkerTouch writes rarely: most calls find a row that is fresh enough.
-- name: WorkerTouch :exec
INSERT INTO workers (id) VALUES (@id)
ON CONFLICT (id) DO UPDATE SET last_seen = clock_timestamp()
WHERE workers.last_seen < clock_timestamp() - @fresh::interval;

-- name: WorkerIsGone :one
SELECT (NOT EXISTS (
    SELECT 1 FROM workers WHERE id = @id AND last_seen > clock_timestamp() - @gone_after::interval
))::boolean AS gone;

-- A worker that was forgotten is gone, like one that was never heard of.
-- name: WorkerDeleteSilent :exec
DELETE FROM workers WHERE last_seen < clock_timestamp() - @silent_for::interval;

-- name: WorkerList :many
SELECT id FROM workers;
