-- What OpenSIPS 3.4 to 3.6 needs beside 001-proxy.sql and 002-subscribers.sql. Both proxies have one `subscriber`, `acc` and `missed_calls`;
-- the numbers of their layouts are each one's own, and so are the locations. Safe to run again.

CREATE TABLE IF NOT EXISTS opensips_version (
    table_name    VARCHAR(32) NOT NULL UNIQUE,
    table_version INTEGER NOT NULL DEFAULT 0
);

-- contact_id is made by OpenSIPS: 64 bits that say where in its memory the contact is.
CREATE TABLE IF NOT EXISTS location_opensips (
    contact_id    BIGINT PRIMARY KEY,
    username      VARCHAR(64) NOT NULL DEFAULT '',
    domain        VARCHAR(64),
    contact       TEXT NOT NULL,
    received      VARCHAR(255),
    path          VARCHAR(255),
    expires       INTEGER NOT NULL,
    q             REAL NOT NULL DEFAULT 1.0,
    callid        VARCHAR(255) NOT NULL DEFAULT '',
    cseq          INTEGER NOT NULL DEFAULT 13,
    last_modified TIMESTAMP WITHOUT TIME ZONE NOT NULL DEFAULT now(),
    flags         INTEGER NOT NULL DEFAULT 0,
    cflags        VARCHAR(255),
    user_agent    VARCHAR(255) NOT NULL DEFAULT '',
    socket        VARCHAR(64),
    methods       INTEGER,
    sip_instance  VARCHAR(255),
    kv_store      TEXT,
    attr          VARCHAR(255)
);
CREATE INDEX IF NOT EXISTS location_opensips_username ON location_opensips (username);
CREATE INDEX IF NOT EXISTS location_opensips_expires ON location_opensips (expires);

-- OpenSIPS names these in every row, whether a call was answered or not; Kamailio leaves them empty.
ALTER TABLE acc ADD COLUMN IF NOT EXISTS setuptime INTEGER, ADD COLUMN IF NOT EXISTS created TIMESTAMP WITHOUT TIME ZONE,
    ADD COLUMN IF NOT EXISTS duration INTEGER, ADD COLUMN IF NOT EXISTS ms_duration INTEGER;
ALTER TABLE missed_calls ADD COLUMN IF NOT EXISTS setuptime INTEGER, ADD COLUMN IF NOT EXISTS created TIMESTAMP WITHOUT TIME ZONE,
    ADD COLUMN IF NOT EXISTS duration INTEGER, ADD COLUMN IF NOT EXISTS ms_duration INTEGER;

INSERT INTO opensips_version (table_name, table_version) VALUES
    ('subscriber', 8), ('location_opensips', 1013), ('acc', 7), ('missed_calls', 5)
    ON CONFLICT (table_name) DO NOTHING;
