-- API tokens. Of the token itself only its SHA-256 is kept: it is random enough for that.
CREATE TABLE tokens (
    id         TEXT COLLATE "C" CONSTRAINT "tokens.id" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL CONSTRAINT "tokens.name" UNIQUE,
    hash       BYTEA NOT NULL CONSTRAINT "tokens.hash" UNIQUE,
    hint       TEXT NOT NULL, -- its last characters
    scopes     TEXT NOT NULL, -- JSON
    limits     TEXT NOT NULL, -- JSON
    expires_at BIGINT,
    created_at BIGINT NOT NULL CONSTRAINT "tokens.created_at" UNIQUE,
    updated_at BIGINT NOT NULL
);
