-- What a workspace's customers also call things: the lines of its glossary. An emptied one stays as a row, so that its
-- revision goes on rising and no reader takes an old text for the current one.
CREATE TABLE glossaries (
    workspace_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    revision BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    content TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
