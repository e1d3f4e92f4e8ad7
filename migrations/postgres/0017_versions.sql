-- What of agents is published: immutable, numbered versions, and drafts of the next one. Secrets in them are sealed in the
-- place of the agent's own tools.
ALTER TABLE agents ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
-- Of the newest draft; never falls.
ALTER TABLE agents ADD COLUMN draft_revision BIGINT NOT NULL DEFAULT 0;

CREATE TABLE agent_versions (
    agent_id TEXT COLLATE "C" NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    -- JSON, all that is published.
    config TEXT NOT NULL,
    -- JSON: the datastores that its tools name, as they were called then.
    datastores TEXT NOT NULL,
    published_by TEXT COLLATE "C",
    note TEXT,
    restored_from BIGINT,
    -- JSON: what its evaluation came to, where there was one.
    verdict TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, number)
);
INSERT INTO agent_versions (agent_id, number, workspace_id, config, datastores, created_at)
SELECT
    id,
    1,
    workspace_id,
    CAST(json_build_object(
        'name', name,
        'description', description,
        'purpose', purpose,
        'tone', tone,
        'voice', voice,
        'systemPrompt', system_prompt,
        'modelName', model_name,
        'tools', CAST(tools AS JSON),
        'settings', CAST(settings AS JSON)
    ) AS TEXT),
    COALESCE(
        (
            SELECT CAST(json_agg(json_build_object('id', datastores.id, 'name', datastores.name)) AS TEXT)
            FROM datastores
            WHERE datastores.workspace_id = agents.workspace_id
                AND agents.tools LIKE '%' || datastores.id || '%'
        ),
        '[]'
    ),
    updated_at
FROM agents;

CREATE TABLE agent_drafts (
    agent_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    workspace_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    -- The published version that it was made from.
    base_version BIGINT NOT NULL,
    config TEXT NOT NULL,
    updated_by TEXT COLLATE "C",
    updated_at BIGINT NOT NULL
);

-- What must hold before a version is published.
CREATE TABLE agent_gates (
    agent_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    workspace_id TEXT COLLATE "C" NOT NULL,
    -- JSON: dataset, mode, floors, tolerances.
    settings TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What versions came to in the evaluations of gates: what the next one is compared with.
CREATE TABLE agent_reports (
    agent_id TEXT COLLATE "C" NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    dataset_id TEXT COLLATE "C" NOT NULL,
    dataset_version TEXT COLLATE "C" NOT NULL,
    -- What the datastores held: a hash of their revisions.
    knowledge TEXT COLLATE "C" NOT NULL,
    -- JSON, compressed.
    report BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, number, dataset_id)
);

-- Versions that are evaluated before they are published.
CREATE TABLE agent_publications (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'published', 'refused', 'failed', 'cancelled')),
    -- Of the job; the worker of an earlier one writes nothing any more.
    attempt BIGINT NOT NULL,
    config TEXT NOT NULL,
    -- The published version that is replaced.
    base_version BIGINT NOT NULL,
    -- The draft that is published, if it is one.
    draft_revision BIGINT,
    requested_by TEXT COLLATE "C",
    note TEXT,
    restored_from BIGINT,
    -- JSON: the gate when it was asked for.
    gate TEXT NOT NULL,
    -- JSON: how far the evaluation is, and what it came to.
    progress TEXT,
    verdict TEXT,
    error TEXT,
    -- The version that it became.
    version BIGINT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX agent_publications_by_agent ON agent_publications (agent_id, id);
CREATE UNIQUE INDEX agent_publications_open ON agent_publications (agent_id)
    WHERE status IN ('pending', 'running');

-- Which configuration of its agent an answer came from.
ALTER TABLE messages ADD COLUMN agent_version BIGINT;
ALTER TABLE messages ADD COLUMN agent_draft BIGINT;
