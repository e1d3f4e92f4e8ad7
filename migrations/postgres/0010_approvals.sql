-- Calls of tools that wait for a person's word, with what is needed to go on afterwards.
CREATE TABLE approvals (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    conversation_id TEXT COLLATE "C" NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- The customer's message, and the agent's that said that a person is asked.
    question_id TEXT COLLATE "C" NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    tool TEXT NOT NULL,
    target TEXT NOT NULL,
    -- JSON, without secrets.
    arguments TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'approved', 'denied', 'expired', 'done', 'failed')),
    error TEXT,
    decided_by TEXT COLLATE "C",
    note TEXT,
    decided_at BIGINT,
    answer_id TEXT COLLATE "C",
    -- JSON: the turn so far. Gone once the approval is over.
    turn TEXT,
    -- When the call was about to be sent, and what came of it (JSON).
    sent_at BIGINT,
    result TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX approvals_by_workspace ON approvals (workspace_id, id);
CREATE INDEX approvals_by_status ON approvals (workspace_id, status, id);
CREATE INDEX approvals_by_conversation ON approvals (conversation_id);
CREATE INDEX approvals_by_agent ON approvals (agent_id);

ALTER TABLE messages DROP CONSTRAINT messages_outcome_check;
ALTER TABLE messages ADD CONSTRAINT messages_outcome_check CHECK (outcome IN ('answered', 'smalltalk', 'abstained', 'handed-off', 'lead-captured', 'awaiting-approval'));

ALTER TABLE message_tools DROP CONSTRAINT message_tools_status_check;
ALTER TABLE message_tools ADD CONSTRAINT message_tools_status_check CHECK (status IN ('done', 'failed', 'waiting'));
