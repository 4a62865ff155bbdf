-- name: MessageInsertMany :exec
INSERT INTO messages (session_id, seq, id, size, verbatim_size)
SELECT unnest(@session_ids::uuid[]), unnest(@seqs::bigint[]), unnest(@ids::uuid[]), unnest(@sizes::bigint[]), unnest(@verbatim_sizes::bigint[]);

-- MessageList ends a page before it has more than max_bytes, but never before
-- its first message.
-- name: MessageList :many
SELECT page.seq, page.id, e.run_id, e.occurred_at, e.payload FROM (
    SELECT m.*, sum(m.size + CASE WHEN @include_verbatim::boolean THEN m.verbatim_size ELSE 0 END) OVER (ORDER BY m.seq) AS total,
           row_number() OVER (ORDER BY m.seq) AS n
    FROM (SELECT * FROM messages WHERE messages.session_id = @session_id AND messages.seq > @after_seq ORDER BY messages.seq LIMIT @page_limit) m
) page
JOIN run_events e ON e.session_id = page.session_id AND e.seq = page.seq
WHERE page.n = 1 OR page.total <= @max_bytes::bigint
ORDER BY page.seq;

-- MessageIDsOfRun has what an executor reported. It finds the events of the run
-- by their numbers, and never reads the rest of the session.
-- name: MessageIDsOfRun :many
SELECT m.id FROM run_events e JOIN messages m ON m.session_id = e.session_id AND m.seq = e.seq
WHERE e.run_id = @run_id::uuid AND e.run_seq > 0;

-- MessageLatestOfRun is the same, the latest first.
-- name: MessageLatestOfRun :many
SELECT e.payload FROM run_events e JOIN messages m ON m.session_id = e.session_id AND m.seq = e.seq
WHERE e.run_id = @run_id::uuid AND e.run_seq > 0
ORDER BY e.run_seq DESC LIMIT @row_limit;

-- name: MessageExistsAfter :one
SELECT EXISTS (SELECT 1 FROM messages WHERE session_id = @session_id AND seq > @after_seq);
