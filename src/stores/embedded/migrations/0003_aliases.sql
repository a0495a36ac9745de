-- Names of our own for models, each with the targets it stands for.
CREATE TABLE aliases (
    name       TEXT PRIMARY KEY NOT NULL,
    targets    TEXT NOT NULL, -- JSON, the preferred one first
    created_at INTEGER NOT NULL UNIQUE,
    updated_at INTEGER NOT NULL
) STRICT;
