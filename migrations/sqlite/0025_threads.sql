-- What is inside a conversation: who of the workspace wrote, with which files, and what members tell each other.
ALTER TABLE messages ADD COLUMN kind TEXT NOT NULL DEFAULT 'text' CHECK (kind IN ('text', 'image', 'file'));
ALTER TABLE messages ADD COLUMN user_id TEXT REFERENCES users (id) ON DELETE SET NULL;
CREATE INDEX messages_by_user ON messages (user_id) WHERE user_id IS NOT NULL;

-- Files that people and customers send: uploaded first, then shown by a message.
CREATE TABLE attachments (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- Absent while it waits for a visitor's first message.
    conversation_id TEXT REFERENCES conversations (id) ON DELETE CASCADE,
    message_id TEXT REFERENCES messages (id) ON DELETE CASCADE,
    -- Its place among the files of its message, from 0.
    place INTEGER,
    blob_id TEXT NOT NULL,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    -- Who uploaded it: a person, or else a visitor.
    user_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    visitor_id TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX attachments_by_conversation ON attachments (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX attachments_by_message ON attachments (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX attachments_by_blob ON attachments (blob_id);
CREATE INDEX attachments_by_user ON attachments (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX attachments_by_visitor ON attachments (workspace_id, visitor_id) WHERE visitor_id IS NOT NULL;
CREATE INDEX attachments_unused ON attachments (created_at) WHERE message_id IS NULL;

-- What members tell each other about a conversation. Never a message: no query for customers, channels or prompts
-- reads this table.
CREATE TABLE conversation_notes (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX conversation_notes_by_conversation ON conversation_notes (conversation_id, id);
CREATE INDEX conversation_notes_by_user ON conversation_notes (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE note_mentions (
    note_id TEXT NOT NULL REFERENCES conversation_notes (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    read_at INTEGER,
    PRIMARY KEY (note_id, user_id)
) STRICT;
CREATE INDEX note_mentions_by_user ON note_mentions (user_id, workspace_id, note_id);

CREATE TABLE canned_replies (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    shortcut TEXT NOT NULL,
    title TEXT NOT NULL,
    -- JSON: a text by language.
    contents TEXT NOT NULL,
    -- Whose own it is; absent for those that everybody of the workspace has.
    owner_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (workspace_id, shortcut)
) STRICT;
CREATE INDEX canned_replies_by_owner ON canned_replies (owner_id) WHERE owner_id IS NOT NULL;
