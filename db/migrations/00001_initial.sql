-- +goose Up

CREATE TABLE projects (
    id uuid PRIMARY KEY,
    user_id text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

CREATE INDEX projects_list ON projects (user_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

-- A session's row is what everything about the session is ordered by: it is
-- locked first, and last_seq is allocated under that lock.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id text NOT NULL,
    project_id uuid REFERENCES projects (id) ON DELETE SET NULL,
    title text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'canceled')),
    -- poco.backend.v1.TaskConfig
    config bytea NOT NULL DEFAULT '',
    -- poco.backend.v1.SessionState
    state bytea NOT NULL DEFAULT '',
    last_seq bigint NOT NULL DEFAULT 0,
    -- The run that is claimed, running or canceling.
    active_run_id uuid,
    latest_run_id uuid,
    queued_runs integer NOT NULL DEFAULT 0 CHECK (queued_runs >= 0),
    -- The agent's own id of the conversation.
    agent_session_id text NOT NULL DEFAULT '',
    -- The worker on whose disk the workspace is.
    worker_id text,
    export_status text NOT NULL DEFAULT '' CHECK (export_status IN ('', 'pending', 'ready', 'failed')),
    export_reason text NOT NULL DEFAULT '',
    -- The run whose end asked for the export that is pending or was the last.
    export_run_id uuid,
    manifest_key text NOT NULL DEFAULT '',
    archive_key text NOT NULL DEFAULT '',
    files_prefix text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz
);

CREATE INDEX sessions_list ON sessions (user_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX sessions_project_list ON sessions (user_id, project_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX sessions_pending_export ON sessions (worker_id) WHERE export_status = 'pending';

CREATE TABLE runs (
    id uuid PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    user_id text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'claimed', 'running', 'canceling', 'completed', 'failed', 'canceled')),
    status_reason text NOT NULL DEFAULT '',
    status_message text NOT NULL DEFAULT '',
    attempt integer NOT NULL DEFAULT 0,
    progress integer NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    schedule_mode text NOT NULL,
    scheduled_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    prompt text NOT NULL,
    -- poco.backend.v1.TaskConfig
    config bytea NOT NULL DEFAULT '',
    -- The worker that holds the run, with its lease; null when none does.
    worker_id text,
    lease_expires_at timestamptz,
    -- Rises with each claim, adoption and loss of the lease.
    fencing_token bigint NOT NULL DEFAULT 0,
    -- The executor's number of the last stored event.
    last_run_seq bigint NOT NULL DEFAULT 0,
    -- The agent may have been given the prompt.
    prompt_submitted boolean NOT NULL DEFAULT false,
    -- How often the run was queued again after its executor was lost.
    resumes integer NOT NULL DEFAULT 0,
    cancel_message text NOT NULL DEFAULT '',
    -- Idempotency of EnqueueTask: the caller's id, and a hash of the body.
    client_request_id text,
    request_hash bytea
);

-- Whatever the claim does, no session has two active runs.
CREATE UNIQUE INDEX runs_one_active ON runs (session_id) WHERE status IN ('claimed', 'running', 'canceling');
CREATE UNIQUE INDEX runs_client_request ON runs (user_id, client_request_id) WHERE client_request_id IS NOT NULL;
-- The queue, and the queue of one session.
CREATE INDEX runs_queue ON runs (scheduled_at, created_at, id) WHERE status = 'queued';
CREATE INDEX runs_session_queue ON runs (session_id, scheduled_at, created_at, id) WHERE status = 'queued';
CREATE INDEX runs_lease ON runs (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX runs_worker ON runs (worker_id) WHERE status IN ('claimed', 'running', 'canceling');
CREATE INDEX runs_list ON runs (user_id, created_at DESC, id DESC);
CREATE INDEX runs_session_list ON runs (session_id, created_at DESC, id DESC);

CREATE TABLE run_events (
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq bigint NOT NULL,
    run_id uuid,
    -- The executor's number; 0 for an event of the backend's own.
    run_seq bigint NOT NULL DEFAULT 0,
    occurred_at timestamptz NOT NULL,
    -- poco.backend.v1.EventPayload
    payload bytea NOT NULL,
    PRIMARY KEY (session_id, seq)
);

-- Storing an event twice is impossible, whatever the code does.
CREATE UNIQUE INDEX run_events_run_seq ON run_events (run_id, run_seq) WHERE run_seq > 0;

-- The conversation: which events are messages. Their content is in run_events.
CREATE TABLE messages (
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    run_id uuid,
    role text NOT NULL CHECK (role IN ('', 'user', 'assistant', 'system')),
    text_preview text NOT NULL,
    -- Bytes of the content, without and with the verbatim message.
    size bigint NOT NULL,
    verbatim_size bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (session_id, seq)
);

CREATE TABLE tool_executions (
    id uuid PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    run_id uuid NOT NULL,
    -- The event that named the call first: the order of lists.
    seq bigint NOT NULL,
    tool_use_id text NOT NULL,
    tool_name text NOT NULL,
    -- google.protobuf.Struct
    input bytea NOT NULL DEFAULT '',
    -- google.protobuf.Struct; null while the tool works.
    output bytea,
    is_error boolean NOT NULL DEFAULT false,
    duration_us bigint,
    created_at timestamptz NOT NULL,
    UNIQUE (session_id, tool_use_id)
);

CREATE INDEX tool_executions_list ON tool_executions (session_id, seq, id);
CREATE INDEX tool_executions_run_list ON tool_executions (run_id, seq, id);

-- What each attempt of a run consumed.
CREATE TABLE usage (
    run_id uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt integer NOT NULL,
    session_id uuid NOT NULL,
    total_cost_usd double precision NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    -- poco.backend.v1.Usage
    detail bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, attempt)
);

CREATE INDEX usage_session ON usage (session_id);

CREATE TABLE user_input_requests (
    id uuid PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    run_id uuid NOT NULL,
    user_id text NOT NULL,
    tool_name text NOT NULL,
    -- poco.backend.v1.UserInputRequested
    request bytea NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'answered', 'expired', 'canceled')),
    -- poco.backend.v1.UserInputResolved
    resolution bytea,
    expires_at timestamptz NOT NULL,
    answered_at timestamptz,
    created_at timestamptz NOT NULL
);

CREATE INDEX user_input_requests_list ON user_input_requests (user_id, created_at, id);
CREATE INDEX user_input_requests_session_list ON user_input_requests (session_id, created_at, id);
CREATE INDEX user_input_requests_open ON user_input_requests (run_id) WHERE status = 'pending';
CREATE INDEX user_input_requests_expiry ON user_input_requests (expires_at) WHERE status = 'pending';

-- What a worker must do; a row is removed when it is acknowledged.
CREATE TABLE run_commands (
    id uuid PRIMARY KEY,
    worker_id text NOT NULL,
    run_id uuid NOT NULL,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('cancel', 'answer', 'export')),
    -- poco.queue.v1.RunCommand
    command bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX run_commands_worker ON run_commands (worker_id, created_at, id);
CREATE INDEX run_commands_run ON run_commands (run_id);

-- Executor managers, as they were last heard of.
CREATE TABLE workers (
    id text PRIMARY KEY,
    last_seen timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- +goose Down

DROP TABLE workers, run_commands, user_input_requests, usage, tool_executions, messages, run_events, runs, sessions, projects;
