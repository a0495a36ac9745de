-- Times are microseconds since 1970. `created_at` is unique in every table: it rises strictly, so that pages cut by it
-- lose no row, and its index finds the latest one.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE backends (
    id              TEXT PRIMARY KEY NOT NULL,
    name            TEXT NOT NULL UNIQUE,
    base_url        TEXT NOT NULL,
    trimmed_url     TEXT NOT NULL UNIQUE, -- base_url without trailing slashes
    kind            TEXT NOT NULL,
    api_key         BLOB,                 -- sealed
    max_concurrency INTEGER,
    weight          INTEGER NOT NULL,
    tier            INTEGER NOT NULL,
    cloud           INTEGER,
    enabled         INTEGER NOT NULL,
    labels          TEXT NOT NULL,        -- JSON
    created_at      INTEGER NOT NULL UNIQUE,
    updated_at      INTEGER NOT NULL
) STRICT;

-- A provider's key lives and dies with the provider's backend, whose id is the provider's name.
CREATE TABLE provider_keys (
    provider   TEXT PRIMARY KEY NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    api_key    BLOB NOT NULL, -- sealed
    created_at INTEGER NOT NULL UNIQUE,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE models (
    id             TEXT PRIMARY KEY NOT NULL,
    name           TEXT NOT NULL UNIQUE,
    context_length INTEGER NOT NULL,
    can_chat       INTEGER, -- all four NULL: undeclared
    can_embed      INTEGER,
    can_prompt     INTEGER,
    can_stream     INTEGER,
    created_at     INTEGER NOT NULL UNIQUE,
    updated_at     INTEGER NOT NULL,
    CHECK ((can_chat IS NULL) = (can_embed IS NULL)
       AND (can_chat IS NULL) = (can_prompt IS NULL)
       AND (can_chat IS NULL) = (can_stream IS NULL))
) STRICT;

CREATE TABLE pools (
    id             TEXT PRIMARY KEY NOT NULL,
    name           TEXT NOT NULL UNIQUE,
    purpose_type   TEXT NOT NULL,
    policy         TEXT NOT NULL,
    queue          TEXT NOT NULL, -- JSON
    require_labels TEXT NOT NULL, -- JSON
    created_at     INTEGER NOT NULL UNIQUE,
    updated_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX pools_by_purpose ON pools (purpose_type, created_at);

CREATE TABLE pool_backends (
    pool_id    TEXT NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    backend_id TEXT NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (pool_id, backend_id)
) STRICT;
CREATE INDEX pool_backends_by_backend ON pool_backends (backend_id);

CREATE TABLE pool_models (
    pool_id    TEXT NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    model_id   TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (pool_id, model_id)
) STRICT;
CREATE INDEX pool_models_by_model ON pool_models (model_id);

CREATE TABLE hooks (
    id           TEXT PRIMARY KEY NOT NULL,
    name         TEXT NOT NULL UNIQUE,
    endpoint_url TEXT NOT NULL,
    method       TEXT NOT NULL,
    timeout_ms   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL UNIQUE,
    updated_at   INTEGER NOT NULL
) STRICT;
