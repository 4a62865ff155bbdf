-- name: ProjectExists :one
SELECT EXISTS (SELECT 1 FROM projects WHERE id = @id AND user_id = @user_id AND deleted_at IS NULL);
