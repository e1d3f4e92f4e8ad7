-- The ledger also has what is asked of models outside of turns: it belongs to no answer, at times to no agent.
ALTER TABLE charges ALTER COLUMN conversation_id DROP NOT NULL;
ALTER TABLE charges ALTER COLUMN agent_id DROP NOT NULL;
ALTER TABLE charges ADD COLUMN purpose TEXT NOT NULL DEFAULT 'answer'
    CHECK (purpose IN ('answer', 'summary', 'recheck', 'search', 'ingest', 'embedding'));
