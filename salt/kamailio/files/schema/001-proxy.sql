-- Tables of the proxy, of the layout that Kamailio 5.7 to 6.0 expects (its own table `version` says so).
-- Safe to run again: nothing is dropped, nothing is overwritten.

CREATE TABLE IF NOT EXISTS version (
    id            SERIAL PRIMARY KEY,
    table_name    VARCHAR(32) NOT NULL UNIQUE,
    table_version INTEGER NOT NULL DEFAULT 0
);

-- HA1 only: the column `password` exists because the server's queries may name it, and stays empty.
CREATE TABLE IF NOT EXISTS subscriber (
    id         SERIAL PRIMARY KEY,
    username   VARCHAR(64) NOT NULL,
    domain     VARCHAR(64) NOT NULL,
    password   VARCHAR(64) NOT NULL DEFAULT '' CHECK (password = ''),
    ha1        VARCHAR(128) NOT NULL DEFAULT '',
    ha1b       VARCHAR(128) NOT NULL DEFAULT '',
    ha1_sha256 VARCHAR(128) NOT NULL DEFAULT '',
    UNIQUE (username, domain)
);

-- What the last subscribers.managed left behind: equal to the table's content when nobody else wrote.
CREATE TABLE IF NOT EXISTS subscriber_state (
    domain         VARCHAR(64) PRIMARY KEY,
    desired_digest VARCHAR(64) NOT NULL,
    fingerprint    VARCHAR(64) NOT NULL,
    applied_at     TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS location (
    id            SERIAL PRIMARY KEY,
    ruid          VARCHAR(64) NOT NULL DEFAULT '' UNIQUE,
    username      VARCHAR(64) NOT NULL DEFAULT '',
    domain        VARCHAR(64),
    contact       VARCHAR(512) NOT NULL DEFAULT '',
    received      VARCHAR(128),
    path          VARCHAR(512),
    expires       TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    q             REAL NOT NULL DEFAULT 1.0,
    callid        VARCHAR(255) NOT NULL DEFAULT '',
    cseq          INTEGER NOT NULL DEFAULT 1,
    last_modified TIMESTAMP WITHOUT TIME ZONE NOT NULL DEFAULT now(),
    flags         INTEGER NOT NULL DEFAULT 0,
    cflags        INTEGER NOT NULL DEFAULT 0,
    user_agent    VARCHAR(255) NOT NULL DEFAULT '',
    socket        VARCHAR(64),
    methods       INTEGER,
    instance      VARCHAR(255),
    reg_id        INTEGER NOT NULL DEFAULT 0,
    server_id     INTEGER NOT NULL DEFAULT 0,
    connection_id INTEGER NOT NULL DEFAULT 0,
    keepalive     INTEGER NOT NULL DEFAULT 0,
    partition     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS location_username ON location (username, domain, contact);
CREATE INDEX IF NOT EXISTS location_expires ON location (expires);

CREATE TABLE IF NOT EXISTS location_attrs (
    id            SERIAL PRIMARY KEY,
    ruid          VARCHAR(64) NOT NULL DEFAULT '',
    username      VARCHAR(64) NOT NULL DEFAULT '',
    domain        VARCHAR(64),
    aname         VARCHAR(64) NOT NULL DEFAULT '',
    atype         INTEGER NOT NULL DEFAULT 0,
    avalue        VARCHAR(512) NOT NULL DEFAULT '',
    last_modified TIMESTAMP WITHOUT TIME ZONE NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS location_attrs_record ON location_attrs (username, domain, ruid);

CREATE TABLE IF NOT EXISTS acc (
    id         BIGSERIAL PRIMARY KEY,
    method     VARCHAR(16) NOT NULL DEFAULT '',
    from_tag   VARCHAR(128) NOT NULL DEFAULT '',
    to_tag     VARCHAR(128) NOT NULL DEFAULT '',
    callid     VARCHAR(255) NOT NULL DEFAULT '',
    sip_code   VARCHAR(3) NOT NULL DEFAULT '',
    sip_reason VARCHAR(128) NOT NULL DEFAULT '',
    time       TIMESTAMP WITHOUT TIME ZONE NOT NULL,
    src_user   VARCHAR(64),
    dst_user   VARCHAR(64),
    src_ip     VARCHAR(64),
    call_ref   VARCHAR(255)
);
CREATE INDEX IF NOT EXISTS acc_callid ON acc (callid);
CREATE INDEX IF NOT EXISTS acc_call_ref ON acc (call_ref);

CREATE TABLE IF NOT EXISTS missed_calls (LIKE acc INCLUDING ALL);

INSERT INTO version (table_name, table_version) VALUES
    ('version', 1), ('subscriber', 7), ('location', 9), ('location_attrs', 1), ('acc', 5), ('missed_calls', 4)
    ON CONFLICT (table_name) DO NOTHING;
