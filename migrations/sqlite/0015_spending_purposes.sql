-- The ledger also has what is asked of models outside of turns: it belongs to no answer, at times to no agent. SQLite can
-- take away a NOT NULL only with a new table.
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
        CHECK (purpose IN ('answer', 'summary', 'recheck', 'search', 'ingest', 'embedding'))
) STRICT;
INSERT INTO charges_by_purpose (
    message_id, workspace_id, conversation_id, agent_id, api_key_id, contact_id, visitor_id, model, provider, calls,
    prompt_tokens, completion_tokens, cached_tokens, cost, estimated, answers, at
)
SELECT
    message_id, workspace_id, conversation_id, agent_id, api_key_id, contact_id, visitor_id, model, provider, calls,
    prompt_tokens, completion_tokens, cached_tokens, cost, estimated, answers, at
FROM charges;
DROP TABLE charges;
ALTER TABLE charges_by_purpose RENAME TO charges;
CREATE INDEX charges_by_time ON charges (workspace_id, at);
