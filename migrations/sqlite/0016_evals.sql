-- The ledger also has what evaluations ask of models. SQLite can change a CHECK only with a new table.
CREATE TABLE charges_by_purpose (
    -- The answer, stored or not: a turn is counted once. What is no turn has an id of its own.
    message_id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    conversation_id TEXT,
    agent_id TEXT,
    api_key_id TEXT,
    contact_id TEXT,
    visitor_id TEXT,
    model TEXT NOT NULL,
    -- `builtin`, `installation`, or the id of a provider of the workspace.
    provider TEXT NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    -- Micro-dollars (US).
    cost INTEGER NOT NULL,
    -- The provider did not count, or was cut off before it could.
    estimated INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    -- 1, or 0 when tokens were spent and no answer was stored.
    answers INTEGER NOT NULL CHECK (answers IN (0, 1)),
    at INTEGER NOT NULL,
    purpose TEXT NOT NULL DEFAULT 'answer'
        CHECK (purpose IN ('answer', 'summary', 'recheck', 'search', 'ingest', 'embedding', 'eval'))
) STRICT;
INSERT INTO charges_by_purpose (
    message_id, workspace_id, conversation_id, agent_id, api_key_id, contact_id, visitor_id, model, provider, calls,
    prompt_tokens, completion_tokens, cached_tokens, cost, estimated, answers, at, purpose
)
SELECT
    message_id, workspace_id, conversation_id, agent_id, api_key_id, contact_id, visitor_id, model, provider, calls,
    prompt_tokens, completion_tokens, cached_tokens, cost, estimated, answers, at, purpose
FROM charges;
DROP TABLE charges;
ALTER TABLE charges_by_purpose RENAME TO charges;
CREATE INDEX charges_by_time ON charges (workspace_id, at);

-- Datasets of questions that answers are evaluated with.
CREATE TABLE eval_datasets (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The one in use.
    version TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX eval_datasets_by_workspace ON eval_datasets (workspace_id, id);

-- What a dataset holds, or held when it was run.
CREATE TABLE eval_versions (
    dataset_id TEXT NOT NULL REFERENCES eval_datasets (id) ON DELETE CASCADE,
    -- The hash of the content.
    version TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    cases INTEGER NOT NULL,
    -- A case a line, compressed.
    content BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (dataset_id, version)
) STRICT;

CREATE TABLE eval_runs (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    dataset_id TEXT NOT NULL,
    version TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('agent', 'datastore')),
    target_id TEXT NOT NULL,
    -- JSON.
    options TEXT NOT NULL,
    api_key_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    -- Of the job; the worker of an earlier one writes nothing any more.
    attempt INTEGER NOT NULL,
    total INTEGER NOT NULL,
    done INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    -- Answers that a judge is to read, and those it has read.
    to_judge INTEGER NOT NULL,
    judged INTEGER NOT NULL,
    -- Micro-dollars (US).
    cost INTEGER NOT NULL,
    -- When it was taken up last, and how much was done by then.
    begun_at INTEGER,
    begun_done INTEGER NOT NULL,
    -- JSON: what was asked, once it was.
    info TEXT,
    -- JSON, compressed.
    report BLOB,
    error TEXT,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    FOREIGN KEY (dataset_id, version) REFERENCES eval_versions (dataset_id, version) ON DELETE CASCADE
) STRICT;
CREATE INDEX eval_runs_by_workspace ON eval_runs (workspace_id, id);
CREATE INDEX eval_runs_by_dataset ON eval_runs (dataset_id, version);

-- What the target did with each case that was asked.
CREATE TABLE eval_rows (
    run_id TEXT NOT NULL REFERENCES eval_runs (id) ON DELETE CASCADE,
    case_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    -- JSON, compressed.
    content BLOB NOT NULL,
    PRIMARY KEY (run_id, case_id)
) STRICT;

-- What judges said, so that nothing is paid for twice.
CREATE TABLE eval_verdicts (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- The hash of everything that could change it.
    key TEXT NOT NULL,
    reply TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, key)
) STRICT;
