-- What people do with conversations as a whole: who has them, how they are found, what became of them.

-- Who has it in hand; set while `handler` is `operator` only.
ALTER TABLE conversations ADD COLUMN assignee_id TEXT COLLATE "C" REFERENCES users (id) ON DELETE SET NULL;
-- From low (0) over normal to urgent (3), so that it sorts by itself.
ALTER TABLE conversations ADD COLUMN priority BIGINT NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 3);
ALTER TABLE conversations ADD COLUMN snoozed_until BIGINT;
-- Since when the customer waits for a person; the end of time while they do not, so that those sort last.
ALTER TABLE conversations ADD COLUMN waiting_since BIGINT NOT NULL DEFAULT 9223372036854775807;

-- One index for each order of the inbox, with what its filters look at: a page and its count are read from the index
-- alone, whichever filters are combined. Those with the same first columns that were there go.
DROP INDEX conversations_by_workspace;
CREATE INDEX conversations_by_creation ON conversations (
    workspace_id, id, status, handler, channel, assignee_id, priority, snoozed_until, agent_id,
    project_id
);
DROP INDEX conversations_by_age;
CREATE INDEX conversations_by_update ON conversations (
    workspace_id, updated_at, id, status, handler, channel, assignee_id, priority, snoozed_until, agent_id,
    project_id, contact_id, last_seq
);
CREATE INDEX conversations_by_priority ON conversations (
    workspace_id, priority, id, status, handler, channel, assignee_id, snoozed_until, agent_id,
    project_id
);
CREATE INDEX conversations_by_waiting ON conversations (
    workspace_id, waiting_since, id, status, handler, channel, assignee_id, priority, snoozed_until, agent_id,
    project_id
);
-- For the counts, which look at what is not closed only.
DROP INDEX conversations_by_status;
CREATE INDEX conversations_by_state ON conversations (
    workspace_id, status, id, channel, assignee_id, snoozed_until
);
CREATE INDEX conversations_by_assignee ON conversations (assignee_id, workspace_id, status)
    WHERE assignee_id IS NOT NULL;

-- What happened to a conversation, beside its messages.
CREATE TABLE conversation_events (
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- From 1, in order.
    number BIGINT NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    -- The newest message at that time: where it stands among them.
    after_seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    -- The id of a person or an API key, or `agent`, `customer`, `system`. They may be gone by now.
    actor TEXT NOT NULL,
    -- JSON: ids and small facts.
    details TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, number)
);

-- Up to which message a member has read.
CREATE TABLE conversation_reads (
    workspace_id TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_seq BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX conversation_reads_by_user ON conversation_reads (user_id, workspace_id, conversation_id, last_seq);

CREATE TABLE tags (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- In lower case: two tags that differ in case only are one.
    folded_name TEXT COLLATE "C" NOT NULL,
    -- `#rrggbb`.
    colour TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (workspace_id, folded_name)
);

CREATE TABLE conversation_tags (
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    tag_id TEXT COLLATE "C" NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    workspace_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (conversation_id, tag_id)
);
CREATE INDEX conversation_tags_by_tag ON conversation_tags (tag_id, conversation_id);

-- The words of titles and messages, in lower case and without accents, for the search: the beginning of a word finds it.
CREATE TABLE conversation_words (
    workspace_id TEXT COLLATE "C" NOT NULL,
    word TEXT COLLATE "C" NOT NULL,
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    PRIMARY KEY (workspace_id, word, conversation_id)
);
CREATE INDEX conversation_words_by_conversation ON conversation_words (conversation_id, word);

-- Who gets what enters the queue; no row: nobody.
CREATE TABLE inbox_settings (
    workspace_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    assignment TEXT NOT NULL CHECK (assignment IN ('off', 'round-robin', 'least-busy')),
    -- Most conversations that a member has at once without having taken them; absent: no limit.
    most_open BIGINT CHECK (most_open >= 1),
    -- Who got the last one.
    last_assignee_id TEXT COLLATE "C",
    updated_at BIGINT NOT NULL
);

-- Whether a member is given conversations.
ALTER TABLE members ADD COLUMN availability TEXT NOT NULL DEFAULT 'online' CHECK (availability IN ('online', 'away'));

-- What was said before words were kept: found once this job has read it.
INSERT INTO jobs (
    id, workspace_id, kind, payload, state, priority, run_at, attempt, max_attempts, cancel_requested, dedupe_key,
    created_at
)
SELECT
    'job_' || replace(CAST(gen_random_uuid() AS TEXT), '-', ''),
    id,
    'inbox.words',
    '{}',
    'waiting',
    10,
    CAST(EXTRACT(EPOCH FROM now()) * 1000000 AS BIGINT),
    0,
    8,
    FALSE,
    'words',
    CAST(EXTRACT(EPOCH FROM now()) * 1000000 AS BIGINT)
FROM workspaces
WHERE EXISTS (SELECT 1 FROM conversations WHERE conversations.workspace_id = workspaces.id);
