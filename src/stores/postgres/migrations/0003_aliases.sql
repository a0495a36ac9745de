-- Names of our own for models, each with the targets it stands for.
CREATE TABLE aliases (
    name       TEXT COLLATE "C" CONSTRAINT "aliases.name" PRIMARY KEY,
    targets    TEXT NOT NULL, -- JSON, the preferred one first
    created_at BIGINT NOT NULL CONSTRAINT "aliases.created_at" UNIQUE,
    updated_at BIGINT NOT NULL
);
