-- What customers left of contact details and answers: one for each conversation.
CREATE TABLE leads (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL UNIQUE REFERENCES conversations (id) ON DELETE CASCADE,
    contact_id TEXT REFERENCES contacts (id) ON DELETE SET NULL,
    -- JSON: an object of texts.
    fields TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX leads_by_workspace ON leads (workspace_id, id);
CREATE INDEX leads_by_contact ON leads (contact_id) WHERE contact_id IS NOT NULL;

-- The tools that an answer used, in the order of the calls.
CREATE TABLE message_tools (
    message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    -- The kind of tool, and the name under which the model called it.
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
    -- JSON, without secrets.
    arguments TEXT NOT NULL,
    -- What the model was told, cut.
    result TEXT NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (message_id, place)
) STRICT, WITHOUT ROWID;

-- What was said before the messages that enter a prompt whole, and up to which message.
ALTER TABLE conversations ADD COLUMN summary TEXT;
ALTER TABLE conversations ADD COLUMN summary_seq INTEGER NOT NULL DEFAULT 0;
