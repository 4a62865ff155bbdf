-- name: UsageUpsert :exec
INSERT INTO usage (run_id, attempt, session_id, total_cost_usd, input_tokens, output_tokens, detail)
VALUES (@run_id, @attempt, @session_id, @total_cost_usd, @input_tokens, @output_tokens, @detail)
ON CONFLICT (run_id, attempt) DO UPDATE SET
    total_cost_usd = excluded.total_cost_usd,
    input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens,
    detail = excluded.detail,
    updated_at = clock_timestamp();

-- name: UsageListOfSession :many
SELECT detail FROM usage WHERE session_id = @session_id;
