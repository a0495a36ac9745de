-- API tokens. Of the token itself only its SHA-256 is kept: it is random enough for that.
CREATE TABLE tokens (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    hash       BLOB NOT NULL UNIQUE,
    hint       TEXT NOT NULL, -- its last characters
    scopes     TEXT NOT NULL, -- JSON
    limits     TEXT NOT NULL, -- JSON
    expires_at INTEGER,
    created_at INTEGER NOT NULL UNIQUE,
    updated_at INTEGER NOT NULL
) STRICT;
