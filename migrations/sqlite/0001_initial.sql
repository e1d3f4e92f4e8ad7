-- Ids are text with a prefix. Instants are microseconds since 1970-01-01T00:00:00Z. JSON is text.
-- Every row but the workspace's own leads to its workspace and goes with it.

CREATE TABLE workspaces (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    code TEXT NOT NULL UNIQUE,
    -- The sequence number of the newest event: taken under the row's lock, so that numbers follow commits.
    event_seq INTEGER NOT NULL DEFAULT 0,
    -- The number of the newest agent code.
    agent_number INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    site_key TEXT NOT NULL UNIQUE,
    is_default INTEGER NOT NULL CHECK (is_default IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX projects_by_workspace ON projects (workspace_id, id);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    -- Names of scopes, joined by commas.
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, id);

CREATE TABLE agents (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    purpose TEXT NOT NULL,
    tone TEXT NOT NULL,
    voice TEXT NOT NULL,
    system_prompt TEXT NOT NULL,
    model_name TEXT,
    tools TEXT NOT NULL,
    settings TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'paused', 'archived')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (workspace_id, code)
) STRICT;
CREATE INDEX agents_by_workspace ON agents (workspace_id, id);

CREATE TABLE datastores (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    language TEXT CHECK (language IN ('es', 'en', 'pt', 'und')),
    is_default INTEGER NOT NULL CHECK (is_default IN (0, 1)),
    -- Rises with every change of its live chunks.
    revision INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX datastores_by_workspace ON datastores (workspace_id, id);

CREATE TABLE sources (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    datastore_id TEXT NOT NULL REFERENCES datastores (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('file', 'url', 'text')),
    blob_id TEXT,
    url TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'ready', 'failed', 'cancelled')),
    stage TEXT CHECK (stage IN ('fetch', 'extract', 'chunk', 'embed', 'index')),
    percent INTEGER CHECK (percent BETWEEN 0 AND 100),
    failure_code TEXT,
    failure_message TEXT,
    warning TEXT,
    mime TEXT,
    bytes INTEGER NOT NULL,
    language TEXT CHECK (language IN ('es', 'en', 'pt', 'und')),
    content_hash TEXT,
    live_version INTEGER NOT NULL,
    version INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    etag TEXT,
    last_modified TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK ((kind = 'file') = (blob_id IS NOT NULL)),
    CHECK ((kind = 'url') = (url IS NOT NULL))
) STRICT;
CREATE INDEX sources_by_datastore ON sources (datastore_id, id);
CREATE INDEX sources_unfinished ON sources (workspace_id, id)
    WHERE status IN ('pending', 'running');

-- The content of a version as received, compressed with zstd.
CREATE TABLE source_contents (
    source_id TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (source_id, version)
) STRICT;

-- The extracted document of a version, which chunks point into, compressed with zstd.
CREATE TABLE source_documents (
    source_id TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (source_id, version)
) STRICT;

CREATE TABLE chunks (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    datastore_id TEXT NOT NULL,
    source_id TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    heading TEXT NOT NULL,
    page INTEGER,
    -- In characters of the extracted text, the end excluded.
    char_start INTEGER NOT NULL,
    char_end INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    lang TEXT NOT NULL CHECK (lang IN ('es', 'en', 'pt', 'und')),
    text TEXT NOT NULL,
    UNIQUE (source_id, version, ordinal)
) STRICT;

-- Dense vectors by content: little-endian 32-bit floats.
CREATE TABLE embeddings (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    space TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    vector BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, space, text_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE datastore_stats (
    datastore_id TEXT NOT NULL PRIMARY KEY REFERENCES datastores (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    base BLOB NOT NULL
) STRICT;

CREATE TABLE datastore_stat_deltas (
    datastore_id TEXT NOT NULL REFERENCES datastores (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    delta BLOB NOT NULL,
    PRIMARY KEY (datastore_id, revision)
) STRICT;

CREATE TABLE contacts (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    first_name TEXT,
    last_name TEXT,
    email TEXT,
    phone TEXT,
    conflict INTEGER NOT NULL CHECK (conflict IN (0, 1)),
    created_at INTEGER NOT NULL,
    UNIQUE (workspace_id, email),
    UNIQUE (workspace_id, phone)
) STRICT;

CREATE TABLE visitors (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    visitor_id TEXT NOT NULL,
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    PRIMARY KEY (workspace_id, visitor_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX visitors_by_contact ON visitors (contact_id);

CREATE TABLE conversations (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    agent_id TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    -- An open set: each channel names itself.
    channel TEXT NOT NULL,
    visitor_id TEXT,
    contact_id TEXT REFERENCES contacts (id) ON DELETE SET NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'pending', 'closed')),
    handler TEXT NOT NULL CHECK (handler IN ('bot', 'queue', 'operator')),
    title TEXT NOT NULL,
    messages_count INTEGER NOT NULL,
    -- The sequence number of the newest message.
    last_seq INTEGER NOT NULL,
    context_after INTEGER NOT NULL,
    -- Who writes the answer now, and until when nobody else may.
    turn_owner TEXT,
    turn_until INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    closed_at INTEGER
) STRICT;
CREATE INDEX conversations_by_workspace ON conversations (workspace_id, id);
CREATE INDEX conversations_by_status ON conversations (workspace_id, status, id);
CREATE INDEX conversations_by_agent ON conversations (agent_id, id);
CREATE INDEX conversations_by_agent_status ON conversations (agent_id, status, id);
CREATE INDEX conversations_by_contact ON conversations (contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX conversations_by_age ON conversations (workspace_id, updated_at);

CREATE TABLE messages (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    author TEXT NOT NULL CHECK (author IN ('customer', 'agent', 'operator')),
    content TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('complete', 'interrupted', 'failed')),
    outcome TEXT CHECK (outcome IN ('answered', 'smalltalk', 'abstained', 'handed-off', 'lead-captured')),
    model TEXT,
    reply_to TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    client_id TEXT,
    created_at INTEGER NOT NULL,
    UNIQUE (conversation_id, seq)
) STRICT;
CREATE UNIQUE INDEX messages_by_client_id ON messages (conversation_id, client_id)
    WHERE client_id IS NOT NULL;
CREATE INDEX messages_by_client ON messages (workspace_id, client_id) WHERE client_id IS NOT NULL;
CREATE INDEX messages_by_reply_to ON messages (reply_to) WHERE reply_to IS NOT NULL;

-- What was shown, whatever happens to the source later: no reference to chunks or sources.
CREATE TABLE message_citations (
    message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    -- The order of first use, from 0.
    place INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    marker INTEGER NOT NULL,
    chunk_id TEXT NOT NULL,
    datastore_id TEXT NOT NULL,
    source_id TEXT NOT NULL,
    source_version INTEGER NOT NULL,
    source_name TEXT NOT NULL,
    url TEXT,
    page INTEGER,
    quote TEXT NOT NULL,
    score REAL NOT NULL,
    PRIMARY KEY (message_id, place)
) STRICT, WITHOUT ROWID;

-- JSON, compressed with zstd.
CREATE TABLE message_traces (
    message_id TEXT NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    trace BLOB NOT NULL
) STRICT;

CREATE TABLE message_feedback (
    message_id TEXT NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    rating TEXT NOT NULL CHECK (rating IN ('up', 'down')),
    comment TEXT,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE gaps (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    message_id TEXT NOT NULL,
    question TEXT NOT NULL,
    evidence REAL NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX gaps_by_workspace ON gaps (workspace_id, id);
CREATE INDEX gaps_by_conversation ON gaps (conversation_id);

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'dead', 'cancelled')),
    priority INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    -- Set while running only.
    lease_until INTEGER,
    lease_owner TEXT,
    cancel_requested INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    last_error TEXT,
    dedupe_key TEXT,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    CHECK ((state = 'running') = (lease_until IS NOT NULL))
) STRICT;
-- The claim: what waits is due at `run_at`, what runs when its lease ends.
CREATE INDEX jobs_due ON jobs (priority, COALESCE(lease_until, run_at), id)
    WHERE state IN ('waiting', 'running');
-- One that is being stopped does not keep its successor out.
CREATE UNIQUE INDEX jobs_deduped ON jobs (workspace_id, kind, dedupe_key)
    WHERE state IN ('waiting', 'running') AND NOT cancel_requested AND dedupe_key IS NOT NULL;
CREATE INDEX jobs_by_state ON jobs (workspace_id, state, id);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE state IN ('done', 'cancelled');

-- The outbox.
CREATE TABLE events (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_age ON events (created_at);
