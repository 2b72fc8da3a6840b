-- Another value with each statement that may have changed a subscriber, seen together with the change. A proxy that remembers
-- subscribers asks for it; equal means that what it remembers is what is here.

CREATE TABLE IF NOT EXISTS subscriber_version (
    version TEXT NOT NULL,
    single  BOOLEAN PRIMARY KEY DEFAULT true CHECK (single)
);
INSERT INTO subscriber_version (version) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION another_subscriber_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE subscriber_version SET version = gen_random_uuid();
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER subscriber_version
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON subscriber
    FOR EACH STATEMENT EXECUTE FUNCTION another_subscriber_version();
