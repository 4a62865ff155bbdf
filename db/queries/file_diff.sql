-- name: FileDiffInsertMany :exec
INSERT INTO file_diffs (session_id, hash, diff)
SELECT unnest(@session_ids::uuid[]), unnest(@hashes::bytea[]), unnest(@diffs::text[])
ON CONFLICT DO NOTHING;

-- name: FileDiffList :many
SELECT hash, diff FROM file_diffs WHERE session_id = @session_id AND hash = ANY(@hashes::bytea[]);
