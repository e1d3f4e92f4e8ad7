-- Sites and apps: whose pages may open the widget, how it looks, who vouches for its visitors.
ALTER TABLE projects ADD COLUMN domain TEXT;
-- A JSON list of origins, as browsers write them; an empty one lets every page in.
ALTER TABLE projects ADD COLUMN allowed_origins TEXT NOT NULL DEFAULT '[]';
-- JSON: what differs from the widget that every project is born with.
ALTER TABLE projects ADD COLUMN widget TEXT NOT NULL DEFAULT '{}';
-- Sealed. Signs the ids of the site's own users; each one has a number, and visitors are bound to it.
ALTER TABLE projects ADD COLUMN identity_secret TEXT;
ALTER TABLE projects ADD COLUMN identity_version BIGINT NOT NULL DEFAULT 0;
-- Microseconds; 0 stands for the time of creation.
ALTER TABLE projects ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;

-- Site keys that were replaced, while pages that still carry them are let in.
CREATE TABLE retired_site_keys (
    site_key TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    valid_until BIGINT NOT NULL
);
CREATE INDEX retired_site_keys_by_project ON retired_site_keys (project_id);

-- The site that a conversation began on; it outlives the site.
ALTER TABLE conversations ADD COLUMN project_id TEXT COLLATE "C" REFERENCES projects (id) ON DELETE SET NULL;
-- The page that it began on, and the browser.
ALTER TABLE conversations ADD COLUMN page_url TEXT;
ALTER TABLE conversations ADD COLUMN user_agent TEXT;
CREATE INDEX conversations_by_project ON conversations (workspace_id, project_id, id);
CREATE INDEX conversations_by_visitor ON conversations (workspace_id, visitor_id, id);

-- Where a visitor of a site was last.
CREATE TABLE visits (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    visitor_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    page_url TEXT,
    user_agent TEXT,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, visitor_id)
);
CREATE INDEX visits_by_age ON visits (workspace_id, last_seen_at);
