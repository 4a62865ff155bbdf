-- A call and its answer may come in either order, and either one twice.
-- name: ToolExecutionUpsertUse :exec
INSERT INTO tool_executions (id, session_id, run_id, seq, tool_use_id, tool_name, use_seq, input_size, created_at)
VALUES (@id, @session_id, @run_id, @seq, @tool_use_id, @tool_name, @seq, @input_size, @created_at)
ON CONFLICT (session_id, tool_use_id) DO UPDATE SET
    tool_name = excluded.tool_name,
    use_seq = excluded.use_seq,
    input_size = excluded.input_size;

-- name: ToolExecutionUpsertResult :exec
INSERT INTO tool_executions (id, session_id, run_id, seq, tool_use_id, tool_name, result_seq, output_size, is_error, created_at)
VALUES (@id, @session_id, @run_id, @seq, @tool_use_id, 'unknown', @seq, @output_size, @is_error, @created_at)
ON CONFLICT (session_id, tool_use_id) DO UPDATE SET
    result_seq = excluded.result_seq,
    output_size = excluded.output_size,
    is_error = excluded.is_error,
    duration_us = coalesce(tool_executions.duration_us,
        greatest(0, (extract(epoch FROM excluded.created_at - tool_executions.created_at) * 1000000)::bigint));

-- ToolExecutionList ends a page before it has more than max_bytes, but never
-- before its first row.
-- name: ToolExecutionList :many
SELECT id, session_id, run_id, seq, tool_use_id, tool_name, is_error, duration_us, created_at, use_seq, result_seq FROM (
    SELECT t.*, sum(t.input_size + t.output_size) OVER (ORDER BY t.seq, t.id) AS total,
           row_number() OVER (ORDER BY t.seq, t.id) AS n
    FROM (
        SELECT * FROM tool_executions x
        WHERE x.session_id = @session_id
          AND (sqlc.narg('run_id')::uuid IS NULL OR x.run_id = sqlc.narg('run_id')::uuid)
          AND (x.seq, x.id) > (@after_seq::bigint, @after_id::uuid)
        ORDER BY x.seq, x.id LIMIT @page_limit
    ) t
) page
WHERE n = 1 OR total <= @max_bytes::bigint
ORDER BY seq, id;
