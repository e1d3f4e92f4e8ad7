-- What of agents is published: immutable, numbered versions, and drafts of the next one. Secrets in them are sealed in the
-- place of the agent's own tools.
ALTER TABLE agents ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
-- Of the newest draft; never falls.
ALTER TABLE agents ADD COLUMN draft_revision INTEGER NOT NULL DEFAULT 0;

CREATE TABLE agent_versions (
    agent_id TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    -- JSON, all that is published.
    config TEXT NOT NULL,
    -- JSON: the datastores that its tools name, as they were called then.
    datastores TEXT NOT NULL,
    published_by TEXT,
    note TEXT,
    restored_from INTEGER,
    -- JSON: what its evaluation came to, where there was one.
    verdict TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (agent_id, number)
) STRICT;
INSERT INTO agent_versions (agent_id, number, workspace_id, config, datastores, created_at)
SELECT
    id,
    1,
    workspace_id,
    json_object(
        'name', name,
        'description', description,
        'purpose', purpose,
        'tone', tone,
        'voice', voice,
        'systemPrompt', system_prompt,
        'modelName', model_name,
        'tools', json(tools),
        'settings', json(settings)
    ),
    (
        SELECT json_group_array(json_object('id', datastores.id, 'name', datastores.name))
        FROM datastores
        WHERE datastores.workspace_id = agents.workspace_id
            AND agents.tools LIKE '%' || datastores.id || '%'
    ),
    updated_at
FROM agents;

CREATE TABLE agent_drafts (
    agent_id TEXT NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    -- The published version that it was made from.
    base_version INTEGER NOT NULL,
    config TEXT NOT NULL,
    updated_by TEXT,
    updated_at INTEGER NOT NULL
) STRICT;

-- What must hold before a version is published.
CREATE TABLE agent_gates (
    agent_id TEXT NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    -- JSON: dataset, mode, floors, tolerances.
    settings TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- What versions came to in the evaluations of gates: what the next one is compared with.
CREATE TABLE agent_reports (
    agent_id TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    dataset_version TEXT NOT NULL,
    -- What the datastores held: a hash of their revisions.
    knowledge TEXT NOT NULL,
    -- JSON, compressed.
    report BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (agent_id, number, dataset_id)
) STRICT;

-- Versions that are evaluated before they are published.
CREATE TABLE agent_publications (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    agent_id TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'published', 'refused', 'failed', 'cancelled')),
    -- Of the job; the worker of an earlier one writes nothing any more.
    attempt INTEGER NOT NULL,
    config TEXT NOT NULL,
    -- The published version that is replaced.
    base_version INTEGER NOT NULL,
    -- The draft that is published, if it is one.
    draft_revision INTEGER,
    requested_by TEXT,
    note TEXT,
    restored_from INTEGER,
    -- JSON: the gate when it was asked for.
    gate TEXT NOT NULL,
    -- JSON: how far the evaluation is, and what it came to.
    progress TEXT,
    verdict TEXT,
    error TEXT,
    -- The version that it became.
    version INTEGER,
    created_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX agent_publications_by_agent ON agent_publications (agent_id, id);
CREATE UNIQUE INDEX agent_publications_open ON agent_publications (agent_id)
    WHERE status IN ('pending', 'running');

-- Which configuration of its agent an answer came from.
ALTER TABLE messages ADD COLUMN agent_version INTEGER;
ALTER TABLE messages ADD COLUMN agent_draft INTEGER;
