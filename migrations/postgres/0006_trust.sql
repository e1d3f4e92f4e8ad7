-- Where in its passage a quote stands, in characters, the end excluded. Absent for citations stored before.
ALTER TABLE message_citations ADD COLUMN quote_start BIGINT;
ALTER TABLE message_citations ADD COLUMN quote_end BIGINT;

-- The passages that answers cite, as they were shown: kept when their source is replaced or deleted. One row
-- for all the answers that cite a passage: a passage is many times as long as what an answer says of it, and
-- the same few are cited again and again. A chunk's id names source, version and place, so its text never changes.
CREATE TABLE cited_passages (
    chunk_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    heading TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX cited_passages_by_workspace ON cited_passages (workspace_id, chunk_id);
CREATE INDEX message_citations_by_chunk ON message_citations (chunk_id);

-- Numbers, codes and the like of an answer that stand in nothing it cites: a JSON list of texts.
ALTER TABLE messages ADD COLUMN unsupported TEXT;

-- Questions of the same meaning that the knowledge could not answer.
CREATE TABLE gap_groups (
    -- The id of the first of its gaps.
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    question TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'closed', 'dismissed')),
    -- The best evidence that was found for it so far, 0 to 1.
    evidence DOUBLE PRECISION NOT NULL,
    -- What the agent answered when the question was asked again and found answered.
    answer TEXT,
    rechecked_at BIGINT,
    closed_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX gap_groups_by_workspace ON gap_groups (workspace_id, id);
CREATE INDEX gap_groups_by_status ON gap_groups (workspace_id, status, id);
CREATE INDEX gap_groups_by_agent ON gap_groups (agent_id, status, id);

ALTER TABLE gaps ADD COLUMN group_id TEXT COLLATE "C" REFERENCES gap_groups (id) ON DELETE CASCADE;
ALTER TABLE gaps ADD COLUMN reason TEXT NOT NULL DEFAULT 'abstained'
    CHECK (reason IN ('abstained', 'disliked'));
ALTER TABLE gaps ADD COLUMN lang TEXT CHECK (lang IN ('es', 'en', 'pt', 'und'));

INSERT INTO gap_groups (id, workspace_id, agent_id, question, status, evidence, created_at)
SELECT gaps.id, gaps.workspace_id, gaps.agent_id, gaps.question, 'open', gaps.evidence, gaps.created_at
FROM gaps
JOIN agents ON agents.id = gaps.agent_id;
UPDATE gaps SET group_id = id WHERE id IN (SELECT id FROM gap_groups);
CREATE INDEX gaps_by_group ON gaps (group_id, id);
CREATE INDEX gaps_by_message ON gaps (message_id);

CREATE TABLE conversation_ratings (
    conversation_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES conversations (id) ON DELETE CASCADE,
    workspace_id TEXT COLLATE "C" NOT NULL,
    rating BIGINT NOT NULL CHECK (rating BETWEEN 1 AND 5),
    comment TEXT,
    updated_at BIGINT NOT NULL
);
