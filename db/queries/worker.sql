-- WorkerTouch writes rarely: most calls find a row that is fresh enough.
-- name: WorkerTouch :exec
INSERT INTO workers (id) VALUES (@id)
ON CONFLICT (id) DO UPDATE SET last_seen = clock_timestamp()
WHERE workers.last_seen < clock_timestamp() - @fresh::interval;
