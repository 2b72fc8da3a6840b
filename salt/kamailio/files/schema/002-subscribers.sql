-- What the pillar says of a subscriber beside its number, with its groups' settings already in it: the proxies join nothing.
-- '' and 0: nothing said, the site's policy holds. destinations, member_of: names joined by commas.

ALTER TABLE subscriber
    ADD COLUMN IF NOT EXISTS state               VARCHAR(16)  NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    ADD COLUMN IF NOT EXISTS display_name        VARCHAR(64)  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS member_of           VARCHAR(600) NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS destinations        VARCHAR(600) NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS max_calls           INTEGER      NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS caller_id           VARCHAR(32)  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS voicemail           VARCHAR(16)  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS forward_always      VARCHAR(32)  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS forward_busy        VARCHAR(32)  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS forward_no_answer   VARCHAR(32)  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS forward_unreachable VARCHAR(32)  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS forward_after_s     INTEGER      NOT NULL DEFAULT 0,
    -- Made by subscribers.managed: a row that is not is somebody else's.
    ADD COLUMN IF NOT EXISTS managed             BOOLEAN      NOT NULL DEFAULT false;

-- Until now every row was the state's.
UPDATE subscriber SET managed = true WHERE domain IN (SELECT domain FROM subscriber_state);

-- E.164 numbers of subscribers, of the layout that both proxies' alias modules expect.
CREATE TABLE IF NOT EXISTS dbaliases (
    id             SERIAL PRIMARY KEY,
    alias_username VARCHAR(64) NOT NULL DEFAULT '',
    alias_domain   VARCHAR(64) NOT NULL DEFAULT '',
    username       VARCHAR(64) NOT NULL DEFAULT '',
    domain         VARCHAR(64) NOT NULL DEFAULT '',
    managed        BOOLEAN     NOT NULL DEFAULT false,
    UNIQUE (alias_username, alias_domain)
);
CREATE INDEX IF NOT EXISTS dbaliases_target ON dbaliases (username, domain);

INSERT INTO version (table_name, table_version) VALUES ('dbaliases', 1) ON CONFLICT (table_name) DO NOTHING;
