-- Who changed what, from where: written in the transaction of the change, never changed.
CREATE TABLE audit_entries (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    actor_kind TEXT NOT NULL CHECK (actor_kind IN ('user', 'api-key', 'visitor', 'system')),
    -- The id of the person, key or visitor. They may be gone by now, so it refers to nothing.
    actor_id TEXT,
    -- What was done: `project.created`.
    action TEXT NOT NULL,
    -- The id of what it was done to.
    subject TEXT NOT NULL,
    -- JSON, without secrets.
    before TEXT,
    after TEXT,
    address TEXT,
    user_agent TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_entries_by_workspace ON audit_entries (workspace_id, id);
CREATE INDEX audit_entries_by_subject ON audit_entries (workspace_id, subject, id);
