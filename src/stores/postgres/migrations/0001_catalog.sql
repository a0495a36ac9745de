-- Times are microseconds since 1970. `created_at` is unique in every table: it rises strictly, so that pages cut by it
-- lose no row, and its index finds the latest one. Constraints are named after their columns: by that name a violation is
-- recognised. Text is compared byte by byte, as in SQLite.

CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE backends (
    id              TEXT COLLATE "C" CONSTRAINT "backends.id" PRIMARY KEY,
    name            TEXT COLLATE "C" NOT NULL CONSTRAINT "backends.name" UNIQUE,
    base_url        TEXT NOT NULL,
    trimmed_url     TEXT COLLATE "C" NOT NULL CONSTRAINT "backends.trimmed_url" UNIQUE, -- base_url without trailing slashes
    kind            TEXT NOT NULL,
    api_key         BYTEA,                -- sealed
    max_concurrency BIGINT,
    weight          BIGINT NOT NULL,
    tier            BIGINT NOT NULL,
    cloud           BOOLEAN,
    enabled         BOOLEAN NOT NULL,
    labels          TEXT NOT NULL,        -- JSON
    created_at      BIGINT NOT NULL CONSTRAINT "backends.created_at" UNIQUE,
    updated_at      BIGINT NOT NULL
);

-- A provider's key lives and dies with the provider's backend, whose id is the provider's name.
CREATE TABLE provider_keys (
    provider   TEXT COLLATE "C" CONSTRAINT "provider_keys.provider" PRIMARY KEY REFERENCES backends (id) ON DELETE CASCADE,
    api_key    BYTEA NOT NULL, -- sealed
    created_at BIGINT NOT NULL CONSTRAINT "provider_keys.created_at" UNIQUE,
    updated_at BIGINT NOT NULL
);

CREATE TABLE models (
    id             TEXT COLLATE "C" CONSTRAINT "models.id" PRIMARY KEY,
    name           TEXT COLLATE "C" NOT NULL CONSTRAINT "models.name" UNIQUE,
    context_length BIGINT NOT NULL,
    can_chat       BOOLEAN, -- all four NULL: undeclared
    can_embed      BOOLEAN,
    can_prompt     BOOLEAN,
    can_stream     BOOLEAN,
    created_at     BIGINT NOT NULL CONSTRAINT "models.created_at" UNIQUE,
    updated_at     BIGINT NOT NULL,
    CHECK ((can_chat IS NULL) = (can_embed IS NULL)
       AND (can_chat IS NULL) = (can_prompt IS NULL)
       AND (can_chat IS NULL) = (can_stream IS NULL))
);

CREATE TABLE pools (
    id             TEXT COLLATE "C" CONSTRAINT "pools.id" PRIMARY KEY,
    name           TEXT COLLATE "C" NOT NULL CONSTRAINT "pools.name" UNIQUE,
    purpose_type   TEXT COLLATE "C" NOT NULL,
    policy         TEXT NOT NULL,
    queue          TEXT NOT NULL, -- JSON
    require_labels TEXT NOT NULL, -- JSON
    created_at     BIGINT NOT NULL CONSTRAINT "pools.created_at" UNIQUE,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX pools_by_purpose ON pools (purpose_type, created_at);

CREATE TABLE pool_backends (
    pool_id    TEXT COLLATE "C" NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    backend_id TEXT COLLATE "C" NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL CONSTRAINT "pool_backends.created_at" UNIQUE,
    CONSTRAINT "pool_backends.pool_id, pool_backends.backend_id" PRIMARY KEY (pool_id, backend_id)
);
CREATE INDEX pool_backends_by_backend ON pool_backends (backend_id);

CREATE TABLE pool_models (
    pool_id    TEXT COLLATE "C" NOT NULL REFERENCES pools (id) ON DELETE CASCADE,
    model_id   TEXT COLLATE "C" NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL CONSTRAINT "pool_models.created_at" UNIQUE,
    CONSTRAINT "pool_models.pool_id, pool_models.model_id" PRIMARY KEY (pool_id, model_id)
);
CREATE INDEX pool_models_by_model ON pool_models (model_id);

CREATE TABLE hooks (
    id           TEXT COLLATE "C" CONSTRAINT "hooks.id" PRIMARY KEY,
    name         TEXT COLLATE "C" NOT NULL CONSTRAINT "hooks.name" UNIQUE,
    endpoint_url TEXT NOT NULL,
    method       TEXT NOT NULL,
    timeout_ms   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL CONSTRAINT "hooks.created_at" UNIQUE,
    updated_at   BIGINT NOT NULL
);
