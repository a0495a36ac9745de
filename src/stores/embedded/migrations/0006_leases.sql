-- What only one instance at a time may do, who that is, and until when.
CREATE TABLE leases (
    name    TEXT PRIMARY KEY NOT NULL,
    holder  TEXT NOT NULL,
    epoch   INTEGER NOT NULL, -- rises with each new holder
    ends_at INTEGER NOT NULL
) STRICT;
