-- name: RunEventInsertMany :exec
INSERT INTO run_events (session_id, seq, run_id, run_seq, occurred_at, payload, size)
SELECT unnest(@session_ids::uuid[]), unnest(@seqs::bigint[]), nullif(unnest(@run_ids::text[]), '')::uuid, unnest(@run_seqs::bigint[]),
       unnest(@occurred_ats::timestamptz[]), unnest(@payloads::bytea[]), unnest(@sizes::bigint[]);

-- RunEventListAfter ends a page before it has more than max_bytes, but never
-- before its first event.
-- name: RunEventListAfter :many
SELECT seq, run_id, run_seq, occurred_at, payload FROM (
    SELECT e.*, sum(e.size) OVER (ORDER BY e.seq) AS total, row_number() OVER (ORDER BY e.seq) AS n
    FROM (SELECT * FROM run_events WHERE session_id = @session_id AND seq > @after_seq ORDER BY seq LIMIT @max_events) e
) page
WHERE n = 1 OR total <= @max_bytes::bigint
ORDER BY seq;

-- name: RunEventPayload :one
SELECT payload FROM run_events WHERE session_id = @session_id AND seq = @seq;

-- RunEventListOf reads some of the given events, of max_bytes at most, but never
-- less than one.
-- name: RunEventListOf :many
SELECT seq, payload FROM (
    SELECT e.*, sum(e.size) OVER (ORDER BY e.seq) AS total, row_number() OVER (ORDER BY e.seq) AS n
    FROM run_events e WHERE e.session_id = @session_id AND e.seq = ANY(@seqs::bigint[]) AND e.seq > @after_seq
) page
WHERE n = 1 OR total <= @max_bytes::bigint
ORDER BY seq;
