-- name: RunEventInsertMany :exec
INSERT INTO run_events (session_id, seq, run_id, run_seq, occurred_at, payload)
SELECT @session_id, unnest(@seqs::bigint[]), nullif(unnest(@run_ids::text[]), '')::uuid, unnest(@run_seqs::bigint[]),
       unnest(@occurred_ats::timestamptz[]), unnest(@payloads::bytea[]);

-- RunEventListAfter ends a page before it has more than max_bytes, but never
-- before its first event. The size of a payload is known without reading it.
-- name: RunEventListAfter :many
SELECT seq, run_id, run_seq, occurred_at, payload FROM (
    SELECT e.*, sum(octet_length(e.payload)) OVER (ORDER BY e.seq) AS total, row_number() OVER (ORDER BY e.seq) AS n
    FROM (SELECT * FROM run_events WHERE session_id = @session_id AND seq > @after_seq ORDER BY seq LIMIT @max_events) e
) page
WHERE n = 1 OR total <= @max_bytes::bigint
ORDER BY seq;

-- name: RunEventPayload :one
SELECT payload FROM run_events WHERE session_id = @session_id AND seq = @seq;
