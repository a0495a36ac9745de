-- Stored task chains. A chain's versions live in a table of their own; `version` is the latest one.
CREATE TABLE chains (
    id         TEXT COLLATE "C" CONSTRAINT "chains.id" PRIMARY KEY,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL CONSTRAINT "chains.created_at" UNIQUE
);

CREATE TABLE chain_versions (
    chain_id   TEXT COLLATE "C" NOT NULL REFERENCES chains (id) ON DELETE CASCADE,
    version    BIGINT NOT NULL,
    draft      BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL, -- of the version
    chain      TEXT NOT NULL,   -- JSON
    PRIMARY KEY (chain_id, version)
);

-- Where the numbers of deleted chains ended, so that none is used again.
CREATE TABLE deleted_chains (
    place   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- rises with each deletion
    id      TEXT COLLATE "C" NOT NULL UNIQUE,
    version BIGINT NOT NULL
);
