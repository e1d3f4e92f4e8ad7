-- The answer that the holder of a conversation's turn is writing, and when somebody asked for its end.
ALTER TABLE conversations ADD COLUMN turn_answer TEXT;
ALTER TABLE conversations ADD COLUMN turn_stop_at INTEGER;
CREATE INDEX conversations_by_turn_answer ON conversations (turn_answer) WHERE turn_answer IS NOT NULL;
CREATE INDEX conversations_by_turn_stop ON conversations (turn_owner) WHERE turn_stop_at IS NOT NULL;

-- Turns that go on when their reader leaves. A small row each, which goes with its conversation.
CREATE TABLE turn_streams (
    -- The id of the answer.
    message_id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- The message that is answered.
    question_id TEXT NOT NULL,
    -- Swept: its events are gone.
    state TEXT NOT NULL CHECK (state IN ('open', 'ended', 'swept')),
    -- The process that runs the turn.
    owner TEXT NOT NULL,
    -- Until when that process is taken to live; once the turn has ended, when it did.
    live_until INTEGER NOT NULL,
    -- The id of the newest event that is stored.
    last_event INTEGER NOT NULL,
    -- When somebody asked for its end.
    stop_at INTEGER
) STRICT;
CREATE INDEX turn_streams_by_conversation ON turn_streams (conversation_id);
CREATE INDEX turn_streams_by_question ON turn_streams (question_id);
CREATE INDEX turn_streams_by_owner ON turn_streams (owner) WHERE state = 'open';
CREATE INDEX turn_streams_by_age ON turn_streams (live_until) WHERE state <> 'swept';

-- What readers of those turns are told, for a while: some events to a row.
CREATE TABLE turn_events (
    message_id TEXT NOT NULL REFERENCES turn_streams (message_id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    first_event INTEGER NOT NULL,
    last_event INTEGER NOT NULL,
    -- A JSON list of [id, kind, data].
    events TEXT NOT NULL,
    PRIMARY KEY (message_id, first_event)
) STRICT;
