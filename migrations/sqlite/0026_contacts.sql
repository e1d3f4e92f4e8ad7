-- Contacts as people work with them.
-- JSON: a flat object of texts, numbers and booleans.
ALTER TABLE contacts ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE contacts ADD COLUMN notes TEXT;
ALTER TABLE contacts ADD COLUMN language TEXT CHECK (language IN ('es', 'en', 'pt', 'und'));
ALTER TABLE contacts ADD COLUMN time_zone TEXT;
ALTER TABLE contacts ADD COLUMN blocked_at INTEGER;
ALTER TABLE contacts ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
-- The name, folded: what lists are ordered by. Absent while its words are not stored yet.
ALTER TABLE contacts ADD COLUMN sort_name TEXT;
UPDATE contacts SET updated_at = created_at;
CREATE INDEX contacts_by_workspace ON contacts (workspace_id, id);
CREATE INDEX contacts_by_name ON contacts (workspace_id, sort_name, id);
CREATE INDEX contacts_by_change ON contacts (workspace_id, updated_at, id);
CREATE INDEX contacts_blocked ON contacts (workspace_id, id) WHERE blocked_at IS NOT NULL;
CREATE INDEX contacts_unindexed ON contacts (id) WHERE sort_name IS NULL;

-- The folded words of names and addresses: a search asks for those that begin with what was typed.
CREATE TABLE contact_terms (
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    term TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    PRIMARY KEY (contact_id, term)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_terms_by_term ON contact_terms (workspace_id, term, contact_id);

CREATE TABLE contact_tags (
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    PRIMARY KEY (contact_id, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_tags_by_tag ON contact_tags (workspace_id, tag, contact_id);

-- Further addresses of a contact: those of contacts that were merged into it.
CREATE TABLE contact_addresses (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('email', 'phone')),
    address TEXT NOT NULL,
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    PRIMARY KEY (workspace_id, kind, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX contact_addresses_by_contact ON contact_addresses (contact_id);

-- Which contacts became part of which other one.
CREATE TABLE contact_merges (
    -- The id of the contact that is no more.
    merged_id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    -- JSON: what it was.
    was TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX contact_merges_by_contact ON contact_merges (contact_id);

-- Visitors that nobody answers, whether or not they are known as contacts.
CREATE TABLE blocked_visitors (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    visitor_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, visitor_id)
) STRICT, WITHOUT ROWID;

-- After how many days what customers said and who they are is removed; absent means never.
CREATE TABLE retention (
    workspace_id TEXT NOT NULL PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    conversation_days INTEGER CHECK (conversation_days >= 1),
    contact_days INTEGER CHECK (contact_days >= 1),
    updated_at INTEGER NOT NULL
) STRICT;

-- The knowledge base: articles that people write and customers read.
CREATE TABLE kb_categories (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    slug TEXT NOT NULL,
    -- JSON: a text by language.
    names TEXT NOT NULL,
    place INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (workspace_id, slug)
) STRICT;

CREATE TABLE kb_articles (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    language TEXT NOT NULL CHECK (language IN ('es', 'en', 'pt')),
    slug TEXT NOT NULL,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    -- Title and content, folded.
    search_text TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('draft', 'published')),
    category_id TEXT REFERENCES kb_categories (id) ON DELETE SET NULL,
    author_id TEXT REFERENCES users (id) ON DELETE SET NULL,
    -- Rises with every change.
    version INTEGER NOT NULL,
    helpful INTEGER NOT NULL DEFAULT 0,
    unhelpful INTEGER NOT NULL DEFAULT 0,
    published_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (workspace_id, language, slug)
) STRICT;
CREATE INDEX kb_articles_by_workspace ON kb_articles (workspace_id, id);
CREATE INDEX kb_articles_by_change ON kb_articles (workspace_id, updated_at, id);
CREATE INDEX kb_articles_by_category ON kb_articles (category_id) WHERE category_id IS NOT NULL;
CREATE INDEX kb_articles_by_author ON kb_articles (author_id) WHERE author_id IS NOT NULL;

CREATE TABLE kb_article_tags (
    article_id TEXT NOT NULL REFERENCES kb_articles (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    PRIMARY KEY (article_id, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX kb_article_tags_by_tag ON kb_article_tags (workspace_id, tag, article_id);

-- Which source holds which version of an article. Outlives the article until the source is gone.
CREATE TABLE kb_mirrors (
    article_id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    source_id TEXT NOT NULL UNIQUE REFERENCES sources (id) ON DELETE CASCADE,
    version INTEGER NOT NULL
) STRICT;

-- The datastore that the server keeps by itself.
ALTER TABLE datastores ADD COLUMN is_system INTEGER NOT NULL DEFAULT 0 CHECK (is_system IN (0, 1));
CREATE UNIQUE INDEX datastores_system ON datastores (workspace_id) WHERE is_system = 1;
-- Where people read it, of a source that is not fetched from there.
ALTER TABLE sources ADD COLUMN link TEXT;

-- The ledger also has what operators ask models for. SQLite can change a CHECK only with a new table.
CREATE TABLE charges_by_purpose (
    -- The answer, stored or not: a turn is counted once. What is no turn has an id of its own.
    message_id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    conversation_id TEXT,
    agent_id TEXT,
    api_key_id TEXT,
    contact_id TEXT,
    visitor_id TEXT,
    model TEXT NOT NULL,
    -- `builtin`, `installation`, or the id of a provider of the workspace.
    provider TEXT NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    -- Micro-dollars (US).
    cost INTEGER NOT NULL,
    -- The provider did not count, or was cut off before it could.
    estimated INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    -- 1, or 0 when tokens were spent and no answer was stored.
    answers INTEGER NOT NULL CHECK (answers IN (0, 1)),
    at INTEGER NOT NULL,
    purpose TEXT NOT NULL DEFAULT 'answer'
        CHECK (purpose IN ('answer', 'summary', 'recheck', 'search', 'ingest', 'embedding', 'eval', 'assist'))
) STRICT;
INSERT INTO charges_by_purpose (
    message_id, workspace_id, conversation_id, agent_id, api_key_id, contact_id, visitor_id, model, provider, calls,
    prompt_tokens, completion_tokens, cached_tokens, cost, estimated, answers, at, purpose
)
SELECT
    message_id, workspace_id, conversation_id, agent_id, api_key_id, contact_id, visitor_id, model, provider, calls,
    prompt_tokens, completion_tokens, cached_tokens, cost, estimated, answers, at, purpose
FROM charges;
DROP TABLE charges;
ALTER TABLE charges_by_purpose RENAME TO charges;
CREATE INDEX charges_by_time ON charges (workspace_id, at);
