-- What only one instance at a time may do, who that is, and until when.
CREATE TABLE leases (
    name    TEXT COLLATE "C" PRIMARY KEY,
    holder  TEXT NOT NULL,
    epoch   BIGINT NOT NULL, -- rises with each new holder
    ends_at BIGINT NOT NULL
);
