-- name: AttachmentInsertMany :exec
INSERT INTO attachments (session_id, object_key) SELECT @session_id, unnest(@object_keys::text[]) ON CONFLICT DO NOTHING;

-- AttachmentList also says whether a session that is not deleted has the upload
-- as well.
-- name: AttachmentList :many
SELECT a.object_key, EXISTS (
    SELECT 1 FROM attachments o JOIN sessions s ON s.id = o.session_id
    WHERE o.object_key = a.object_key AND s.deleted_at IS NULL
) AS used
FROM attachments a WHERE a.session_id = @session_id AND a.object_key > @after_key
ORDER BY a.object_key LIMIT @max_rows;
