-- Calls of tools that wait for a person's word, with what is needed to go on afterwards.
CREATE TABLE approvals (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    agent_id TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- The customer's message, and the agent's that said that a person is asked.
    question_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    tool TEXT NOT NULL,
    target TEXT NOT NULL,
    -- JSON, without secrets.
    arguments TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'approved', 'denied', 'expired', 'done', 'failed')),
    error TEXT,
    decided_by TEXT,
    note TEXT,
    decided_at INTEGER,
    answer_id TEXT,
    -- JSON: the turn so far. Gone once the approval is over.
    turn TEXT,
    -- When the call was about to be sent, and what came of it (JSON).
    sent_at INTEGER,
    result TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX approvals_by_workspace ON approvals (workspace_id, id);
CREATE INDEX approvals_by_status ON approvals (workspace_id, status, id);
CREATE INDEX approvals_by_conversation ON approvals (conversation_id);
CREATE INDEX approvals_by_agent ON approvals (agent_id);

-- SQLite cannot change a CHECK: a column with the wider one takes the place of the old column.
ALTER TABLE messages ADD COLUMN outcome_next TEXT CHECK (outcome_next IN ('answered', 'smalltalk', 'abstained', 'handed-off', 'lead-captured', 'awaiting-approval'));
UPDATE messages SET outcome_next = outcome WHERE outcome IS NOT NULL;
ALTER TABLE messages DROP COLUMN outcome;
ALTER TABLE messages RENAME COLUMN outcome_next TO outcome;

-- Nothing refers to this table, so it can be made anew.
CREATE TABLE message_tools_next (
    message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    -- The kind of tool, and the name under which the model called it.
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed', 'waiting')),
    -- JSON, without secrets.
    arguments TEXT NOT NULL,
    -- What the model was told, cut.
    result TEXT NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (message_id, place)
) STRICT, WITHOUT ROWID;
INSERT INTO message_tools_next (message_id, place, workspace_id, kind, name, status, arguments, result, micros)
SELECT message_id, place, workspace_id, kind, name, status, arguments, result, micros
FROM message_tools;
DROP TABLE message_tools;
ALTER TABLE message_tools_next RENAME TO message_tools;
