-- name: SessionContentInsert :exec
INSERT INTO session_contents (session_id, config) VALUES (@session_id, @config);

-- name: SessionContentGet :one
SELECT * FROM session_contents WHERE session_id = @session_id;

-- name: SessionContentUpdate :exec
UPDATE session_contents SET config = @config, state = @state WHERE session_id = @session_id;

-- name: SessionContentList :many
SELECT * FROM session_contents WHERE session_id = ANY((SELECT @session_ids::uuid[])::uuid[]);
