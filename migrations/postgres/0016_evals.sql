-- The ledger also has what evaluations ask of models.
ALTER TABLE charges DROP CONSTRAINT charges_purpose_check;
ALTER TABLE charges ADD CONSTRAINT charges_purpose_check
    CHECK (purpose IN ('answer', 'summary', 'recheck', 'search', 'ingest', 'embedding', 'eval'));

-- Datasets of questions that answers are evaluated with.
CREATE TABLE eval_datasets (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The one in use.
    version TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX eval_datasets_by_workspace ON eval_datasets (workspace_id, id);

-- What a dataset holds, or held when it was run.
CREATE TABLE eval_versions (
    dataset_id TEXT COLLATE "C" NOT NULL REFERENCES eval_datasets (id) ON DELETE CASCADE,
    -- The hash of the content.
    version TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    cases BIGINT NOT NULL,
    -- A case a line, compressed.
    content BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (dataset_id, version)
);

CREATE TABLE eval_runs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    dataset_id TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('agent', 'datastore')),
    target_id TEXT COLLATE "C" NOT NULL,
    -- JSON.
    options TEXT NOT NULL,
    api_key_id TEXT COLLATE "C",
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    -- Of the job; the worker of an earlier one writes nothing any more.
    attempt BIGINT NOT NULL,
    total BIGINT NOT NULL,
    done BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    -- Answers that a judge is to read, and those it has read.
    to_judge BIGINT NOT NULL,
    judged BIGINT NOT NULL,
    -- Micro-dollars (US).
    cost BIGINT NOT NULL,
    -- When it was taken up last, and how much was done by then.
    begun_at BIGINT,
    begun_done BIGINT NOT NULL,
    -- JSON: what was asked, once it was.
    info TEXT,
    -- JSON, compressed.
    report BYTEA,
    error TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    FOREIGN KEY (dataset_id, version) REFERENCES eval_versions (dataset_id, version) ON DELETE CASCADE
);
CREATE INDEX eval_runs_by_workspace ON eval_runs (workspace_id, id);
CREATE INDEX eval_runs_by_dataset ON eval_runs (dataset_id, version);

-- What the target did with each case that was asked.
CREATE TABLE eval_rows (
    run_id TEXT COLLATE "C" NOT NULL REFERENCES eval_runs (id) ON DELETE CASCADE,
    case_id TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    -- JSON, compressed.
    content BYTEA NOT NULL,
    PRIMARY KEY (run_id, case_id)
);

-- What judges said, so that nothing is paid for twice.
CREATE TABLE eval_verdicts (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- The hash of everything that could change it.
    key TEXT COLLATE "C" NOT NULL,
    reply TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, key)
);
