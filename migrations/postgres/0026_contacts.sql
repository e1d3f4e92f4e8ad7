-- Contacts as people work with them.
-- JSON: a flat object of texts, numbers and booleans.
ALTER TABLE contacts ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE contacts ADD COLUMN notes TEXT;
ALTER TABLE contacts ADD COLUMN language TEXT CHECK (language IN ('es', 'en', 'pt', 'und'));
ALTER TABLE contacts ADD COLUMN time_zone TEXT;
ALTER TABLE contacts ADD COLUMN blocked_at BIGINT;
ALTER TABLE contacts ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
-- The name, folded: what lists are ordered by. Absent while its words are not stored yet.
ALTER TABLE contacts ADD COLUMN sort_name TEXT COLLATE "C";
UPDATE contacts SET updated_at = created_at;
CREATE INDEX contacts_by_workspace ON contacts (workspace_id, id);
CREATE INDEX contacts_by_name ON contacts (workspace_id, sort_name, id);
CREATE INDEX contacts_by_change ON contacts (workspace_id, updated_at, id);
CREATE INDEX contacts_blocked ON contacts (workspace_id, id) WHERE blocked_at IS NOT NULL;
CREATE INDEX contacts_unindexed ON contacts (id) WHERE sort_name IS NULL;

-- The folded words of names and addresses: a search asks for those that begin with what was typed.
CREATE TABLE contact_terms (
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    term TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (contact_id, term)
);
CREATE INDEX contact_terms_by_term ON contact_terms (workspace_id, term, contact_id);

CREATE TABLE contact_tags (
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    tag TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (contact_id, tag)
);
CREATE INDEX contact_tags_by_tag ON contact_tags (workspace_id, tag, contact_id);

-- Further addresses of a contact: those of contacts that were merged into it.
CREATE TABLE contact_addresses (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('email', 'phone')),
    address TEXT COLLATE "C" NOT NULL,
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    PRIMARY KEY (workspace_id, kind, address)
);
CREATE INDEX contact_addresses_by_contact ON contact_addresses (contact_id);

-- Which contacts became part of which other one.
CREATE TABLE contact_merges (
    -- The id of the contact that is no more.
    merged_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL,
    contact_id TEXT COLLATE "C" NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    -- JSON: what it was.
    was TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX contact_merges_by_contact ON contact_merges (contact_id);

-- Visitors that nobody answers, whether or not they are known as contacts.
CREATE TABLE blocked_visitors (
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    visitor_id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, visitor_id)
);

-- After how many days what customers said and who they are is removed; absent means never.
CREATE TABLE retention (
    workspace_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    conversation_days BIGINT CHECK (conversation_days >= 1),
    contact_days BIGINT CHECK (contact_days >= 1),
    updated_at BIGINT NOT NULL
);

-- The knowledge base: articles that people write and customers read.
CREATE TABLE kb_categories (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    slug TEXT COLLATE "C" NOT NULL,
    -- JSON: a text by language.
    names TEXT NOT NULL,
    place BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (workspace_id, slug)
);

CREATE TABLE kb_articles (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    language TEXT NOT NULL CHECK (language IN ('es', 'en', 'pt')),
    slug TEXT COLLATE "C" NOT NULL,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    -- Title and content, folded.
    search_text TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('draft', 'published')),
    category_id TEXT COLLATE "C" REFERENCES kb_categories (id) ON DELETE SET NULL,
    author_id TEXT COLLATE "C" REFERENCES users (id) ON DELETE SET NULL,
    -- Rises with every change.
    version BIGINT NOT NULL,
    helpful BIGINT NOT NULL DEFAULT 0,
    unhelpful BIGINT NOT NULL DEFAULT 0,
    published_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (workspace_id, language, slug)
);
CREATE INDEX kb_articles_by_workspace ON kb_articles (workspace_id, id);
CREATE INDEX kb_articles_by_change ON kb_articles (workspace_id, updated_at, id);
CREATE INDEX kb_articles_by_category ON kb_articles (category_id) WHERE category_id IS NOT NULL;
CREATE INDEX kb_articles_by_author ON kb_articles (author_id) WHERE author_id IS NOT NULL;

CREATE TABLE kb_article_tags (
    article_id TEXT COLLATE "C" NOT NULL REFERENCES kb_articles (id) ON DELETE CASCADE,
    tag TEXT COLLATE "C" NOT NULL,
    workspace_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (article_id, tag)
);
CREATE INDEX kb_article_tags_by_tag ON kb_article_tags (workspace_id, tag, article_id);

-- Which source holds which version of an article. Outlives the article until the source is gone.
CREATE TABLE kb_mirrors (
    article_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    workspace_id TEXT COLLATE "C" NOT NULL,
    source_id TEXT COLLATE "C" NOT NULL UNIQUE REFERENCES sources (id) ON DELETE CASCADE,
    version BIGINT NOT NULL
);

-- The datastore that the server keeps by itself.
ALTER TABLE datastores ADD COLUMN is_system BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX datastores_system ON datastores (workspace_id) WHERE is_system;
-- Where people read it, of a source that is not fetched from there.
ALTER TABLE sources ADD COLUMN link TEXT;

-- The ledger also has what operators ask models for.
ALTER TABLE charges DROP CONSTRAINT charges_purpose_check;
ALTER TABLE charges ADD CONSTRAINT charges_purpose_check
    CHECK (purpose IN ('answer', 'summary', 'recheck', 'search', 'ingest', 'embedding', 'eval', 'assist'));
