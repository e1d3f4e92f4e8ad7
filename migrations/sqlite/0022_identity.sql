-- What identity needs beyond a password: verified addresses, invitations, links that are sent by mail, a second factor,
-- accounts elsewhere; who made a key; and workspaces that are being removed.
ALTER TABLE users ADD COLUMN email_verified_at INTEGER;
-- Of the mails to them: es, en or pt.
ALTER TABLE users ADD COLUMN language TEXT;
-- The secret of the one-time codes, sealed.
ALTER TABLE users ADD COLUMN second_factor TEXT;
-- Since when it is asked for; NULL while it is being set up.
ALTER TABLE users ADD COLUMN second_factor_since INTEGER;
-- The step of 30 seconds whose code was used last: a code is good once.
ALTER TABLE users ADD COLUMN second_factor_step INTEGER;

CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256.
    hash BLOB NOT NULL,
    PRIMARY KEY (user_id, hash)
) STRICT;

-- Who gave the right password and owes the second factor.
CREATE TABLE sign_in_challenges (
    -- SHA-256.
    hash BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    guesses INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- Links that are sent by mail. Their tokens are made from the vault's keys and the id; only the hash is kept.
CREATE TABLE links (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose TEXT NOT NULL CHECK (purpose IN ('verify', 'reset')),
    -- The address that it goes to.
    email TEXT NOT NULL,
    language TEXT NOT NULL,
    -- SHA-256.
    hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER
) STRICT;
CREATE INDEX links_by_user ON links (user_id, purpose);

CREATE TABLE invitations (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- In lower case.
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'agent', 'admin', 'owner')),
    invited_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    language TEXT NOT NULL,
    -- SHA-256 of the token of the mail that was sent last.
    hash BLOB NOT NULL UNIQUE,
    -- How often it was sent; each mail has a token of its own.
    sent INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    accepted_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE UNIQUE INDEX invitations_open ON invitations (workspace_id, email)
    WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invitations_by_workspace ON invitations (workspace_id, id);

-- Accounts at an identity provider (OpenID Connect) that sign somebody in here.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;
CREATE INDEX identities_by_user ON identities (user_id);

-- Who is on the way to the identity provider and back. Each state is good once.
CREATE TABLE identity_requests (
    -- SHA-256 of the state.
    hash BLOB NOT NULL PRIMARY KEY,
    language TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- The person who made the key, whose rights bound it; NULL for keys of the command line and from before people.
ALTER TABLE api_keys ADD COLUMN created_by TEXT REFERENCES users (id) ON DELETE CASCADE;

-- Since when the workspace is being removed: it is absent for everybody, and its row goes last.
ALTER TABLE workspaces ADD COLUMN closing_at INTEGER;
