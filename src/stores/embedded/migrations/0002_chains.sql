-- Stored task chains. A chain's versions live in a table of their own; `version` is the latest one.
CREATE TABLE chains (
    id         TEXT PRIMARY KEY NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL UNIQUE
) STRICT;

CREATE TABLE chain_versions (
    chain_id   TEXT NOT NULL REFERENCES chains (id) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    draft      INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- of the version
    chain      TEXT NOT NULL,    -- JSON; last, because it is long
    PRIMARY KEY (chain_id, version)
) STRICT;

-- Where the numbers of deleted chains ended, so that none is used again.
CREATE TABLE deleted_chains (
    place   INTEGER PRIMARY KEY NOT NULL, -- rises with each deletion
    id      TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL
) STRICT;
