-- name: UserInputRequestInsert :execrows
INSERT INTO user_input_requests (id, session_id, run_id, user_id, tool_name, request, expires_at, created_at)
VALUES (@id, @session_id, @run_id, @user_id, @tool_name, @request, @expires_at, @created_at)
ON CONFLICT (id) DO NOTHING;

-- name: UserInputRequestGetOwned :one
SELECT u.* FROM user_input_requests u JOIN sessions s ON s.id = u.session_id
WHERE u.id = @id AND u.user_id = @user_id AND s.deleted_at IS NULL;

-- name: UserInputRequestLock :one
SELECT sqlc.embed(user_input_requests), (expires_at <= clock_timestamp())::boolean AS expired
FROM user_input_requests WHERE id = @id FOR UPDATE;

-- name: UserInputRequestResolve :exec
UPDATE user_input_requests SET status = @status, resolution = @resolution, answered_at = @answered_at WHERE id = @id;

-- name: UserInputRequestListOpen :many
SELECT * FROM user_input_requests WHERE run_id = @run_id AND status = 'pending' ORDER BY created_at, id FOR UPDATE;

-- name: UserInputRequestListExpired :many
SELECT id, session_id FROM user_input_requests
WHERE status = 'pending' AND expires_at <= statement_timestamp()
ORDER BY expires_at LIMIT @max_requests;

-- UserInputRequestList shows a question whose time is over as expired, even
-- before it is marked so. The states that are stored are filtered as well, for
-- the sake of the index of open questions. A page ends with the row that brings
-- it over max_bytes; candidates is how many rows there were before that cut.
-- name: UserInputRequestList :many
SELECT sqlc.embed(u), listed.status_now, listed.candidates FROM (
    SELECT page.id, page.status_now, count(*) OVER () AS candidates,
           sum(page.bytes) OVER (ORDER BY page.created_at, page.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT u.id, u.created_at, octet_length(u.request) + coalesce(octet_length(u.resolution), 0) AS bytes,
               (CASE WHEN u.status = 'pending' AND u.expires_at <= clock_timestamp() THEN 'expired' ELSE u.status END)::text AS status_now
        FROM user_input_requests u JOIN sessions s ON s.id = u.session_id
        WHERE u.user_id = @user_id AND s.deleted_at IS NULL
          AND (cardinality(@stored_statuses::text[]) = 0 OR u.status = ANY(@stored_statuses::text[]))
          AND (cardinality(@statuses::text[]) = 0 OR
               CASE WHEN u.status = 'pending' AND u.expires_at <= clock_timestamp() THEN 'expired' ELSE u.status END = ANY(@statuses::text[]))
          AND (u.created_at, u.id) > (@after_created_at::timestamptz, @after_id::uuid)
        ORDER BY u.created_at, u.id
        LIMIT @page_limit
    ) page
) listed
JOIN user_input_requests u ON u.id = listed.id
WHERE coalesce(listed.before, 0) <= @max_bytes::bigint
ORDER BY u.created_at, u.id;

-- name: UserInputRequestListOfSession :many
SELECT sqlc.embed(u), listed.status_now, listed.candidates FROM (
    SELECT page.id, page.status_now, count(*) OVER () AS candidates,
           sum(page.bytes) OVER (ORDER BY page.created_at, page.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM (
        SELECT u.id, u.created_at, octet_length(u.request) + coalesce(octet_length(u.resolution), 0) AS bytes,
               (CASE WHEN u.status = 'pending' AND u.expires_at <= clock_timestamp() THEN 'expired' ELSE u.status END)::text AS status_now
        FROM user_input_requests u
        WHERE u.session_id = @session_id
          AND (cardinality(@statuses::text[]) = 0 OR
               CASE WHEN u.status = 'pending' AND u.expires_at <= clock_timestamp() THEN 'expired' ELSE u.status END = ANY(@statuses::text[]))
          AND (u.created_at, u.id) > (@after_created_at::timestamptz, @after_id::uuid)
        ORDER BY u.created_at, u.id
        LIMIT @page_limit
    ) page
) listed
JOIN user_input_requests u ON u.id = listed.id
WHERE coalesce(listed.before, 0) <= @max_bytes::bigint
ORDER BY u.created_at, u.id;
