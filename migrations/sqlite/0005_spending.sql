-- What a customer showed beside a message: JSON, addresses and sizes, never the images themselves.
CREATE TABLE message_images (
    message_id TEXT NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    images TEXT NOT NULL
) STRICT;

-- What turns cost, one row each. Stays when the conversation, the agent or the key goes: it is a ledger.
CREATE TABLE charges (
    -- The answer, stored or not: a turn is counted once.
    message_id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    conversation_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
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
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX charges_by_time ON charges (workspace_id, at);

CREATE TABLE budgets (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    scope TEXT NOT NULL CHECK (scope IN ('workspace', 'agent', 'apiKey', 'visitor')),
    -- The one that it is for; empty means the workspace, or each one for itself.
    subject TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('tokens', 'cost', 'answers')),
    period TEXT NOT NULL CHECK (period IN ('day', 'month')),
    cap INTEGER NOT NULL CHECK (cap >= 1),
    created_at INTEGER NOT NULL,
    UNIQUE (workspace_id, scope, subject, unit, period)
) STRICT;

-- What is used of a budget by whom in a period. The row's lock orders those who take from it.
CREATE TABLE budget_usage (
    budget_id TEXT NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    counter TEXT NOT NULL,
    period_start INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    used INTEGER NOT NULL,
    -- The highest percentage that was told.
    alerted INTEGER NOT NULL,
    PRIMARY KEY (budget_id, counter, period_start)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_usage_by_age ON budget_usage (period_start);

-- What turns under way may still use; those of a process that died end by themselves.
CREATE TABLE budget_holds (
    message_id TEXT NOT NULL,
    budget_id TEXT NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    counter TEXT NOT NULL,
    period_start INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    amount INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (message_id, budget_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_holds_by_counter ON budget_holds (budget_id, counter, period_start);

-- Model providers of a workspace.
CREATE TABLE providers (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    base_url TEXT NOT NULL,
    -- Sealed: `v1:<key>:<nonce>:<ciphertext>`.
    api_key TEXT,
    -- JSON: the names that it answers to; empty means what it lists.
    models TEXT NOT NULL,
    -- Lower ones are asked first.
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (workspace_id, name)
) STRICT;
