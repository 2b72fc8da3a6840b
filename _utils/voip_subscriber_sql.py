"""The statements of the `subscribers` module: each is for all rows of a realm at once.

%(realm)s is the SIP domain; %(owns)s whether rows that others made are removed too. No value stands
in a statement's text.
"""

# ruff: noqa: S608 - what is put together here are names of columns, none from outside

from voip_subscribers import ALIAS_COLUMNS, COLUMNS

HA1 = ("ha1", "ha1b", "ha1_sha256")
_COUNT = "SELECT count(*), (array_agg(name ORDER BY name))[1:5] FROM touched"

# What all rows of a realm are, in one value: to notice that somebody wrote. Who may write there may
# write this value too, so it need not resist him; a sum over rows needs no sorting.
_SUM = "count(*) || ':' || coalesce(bit_xor(hashtextextended({row}::text, 0)), 0)"
FINGERPRINT = f"""
    SELECT (SELECT {_SUM.format(row="s")} FROM subscriber s WHERE s.domain = %(realm)s::text)
        || '/' ||
        (SELECT {_SUM.format(row="a")} FROM dbaliases a WHERE a.alias_domain = %(realm)s::text)
"""
# Where the proxies have their contacts, each in its own table.
_LOCATIONS = ("location", "location_opensips")
# Contacts of nobody: of removed and of suspended subscribers.
_STALE = [
    f"""
    FROM {table} l WHERE NOT EXISTS (
        SELECT FROM subscriber s
        WHERE s.username = l.username AND s.domain = %(realm)s::text AND s.state = 'active'
    )
"""
    for table in _LOCATIONS
]
STALE = " UNION ".join(f"SELECT l.username {stale}" for stale in _STALE) + " ORDER BY 1"


def _deleted(each):
    """One statement that deletes from several tables."""
    parts = ", ".join(f"d{number} AS (DELETE {what})" for number, what in enumerate(each))
    return f"WITH {parts} SELECT"


FORGET = _deleted(_STALE)
_FOREIGN = "FROM subscriber WHERE domain = %(realm)s::text AND NOT managed"
FOREIGN = f"SELECT count(*), (array_agg(username ORDER BY username))[1:5] {_FOREIGN}"
# The rows are gone through only where the answer depends on them.
IS_CURRENT = f"""
    SELECT CASE WHEN desired_digest = %(digest)s
        THEN fingerprint = ({FINGERPRINT}) AND NOT EXISTS ({STALE}) ELSE false END
    FROM subscriber_state WHERE domain = %(realm)s::text
"""
LAST = f"""
    SELECT desired_digest, fingerprint = ({FINGERPRINT})
    FROM subscriber_state WHERE domain = %(realm)s::text
"""
REMEMBER = f"""
    INSERT INTO subscriber_state (domain, desired_digest, fingerprint)
        VALUES (%(realm)s::text, %(digest)s, ({FINGERPRINT}))
    ON CONFLICT (domain) DO UPDATE SET desired_digest = excluded.desired_digest,
        fingerprint = excluded.fingerprint, applied_at = now()
"""
# From here to the next run, nobody trusts what is in the table.
DOUBT = "DELETE FROM subscriber_state WHERE domain = %(realm)s::text"

# Two proxies that converge at once take turns.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('subscribers'))"

# All rows against all rows, each read once. By statistics of before a load (ANALYZE counts what is
# committed) the planner takes `subscriber` for a row, and reads all of `wanted` for each there is.
# So the temporary tables need no statistics either.
PLAN = "SET LOCAL enable_nestloop = off"

# (table, statement that makes it, its columns) of what is wanted, as temporary tables.
WANTED = (
    "wanted",
    "CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS"
    f" SELECT {', '.join(COLUMNS)} FROM subscriber WHERE false",
    COLUMNS,
)
WANTED_ALIAS = (
    "wanted_alias",
    "CREATE TEMPORARY TABLE wanted_alias ON COMMIT DROP AS"
    f" SELECT {', '.join(ALIAS_COLUMNS)} FROM dbaliases WHERE false",
    ALIAS_COLUMNS,
)
CREDENTIAL = (
    "credential",
    "CREATE TEMPORARY TABLE credential ON COMMIT DROP AS"
    f" SELECT username, {', '.join(HA1)} FROM subscriber WHERE false",
    ("username", *HA1),
)

# Whose HA1 is needed: everybody's where the table is not as the last run left it.
ALL = "SELECT username FROM wanted"
NEW = """
    SELECT w.username FROM wanted w WHERE NOT EXISTS (
        SELECT FROM subscriber s
        WHERE s.domain = %(realm)s::text AND s.username = w.username AND s.managed
    )
"""

REMOVE = f"""
    WITH touched AS (
        DELETE FROM subscriber s
        WHERE s.domain = %(realm)s::text AND (s.managed OR %(owns)s)
            AND NOT EXISTS (SELECT FROM wanted w WHERE w.username = s.username)
        RETURNING s.username AS name
    ) {_COUNT}
"""
_SET = [(name, f"w.{name}") for name in COLUMNS if name != "username"]
_SET += [(name, f"coalesce(c.{name}, s.{name})") for name in HA1]
_SET += [("managed", "true")]
CHANGE = f"""
    WITH touched AS (
        UPDATE subscriber s SET {", ".join(f"{name} = {value}" for name, value in _SET)}
        FROM wanted w LEFT JOIN credential c ON c.username = w.username
        WHERE s.domain = %(realm)s::text AND s.username = w.username
            AND ({", ".join(f"s.{name}" for name, _ in _SET)})
            IS DISTINCT FROM ({", ".join(value for _, value in _SET)})
        RETURNING s.username AS name
    ) {_COUNT}
"""
ADD = f"""
    WITH touched AS (
        INSERT INTO subscriber (domain, managed, {", ".join((*COLUMNS, *HA1))})
            SELECT %(realm)s::text, true, {", ".join(f"w.{name}" for name in COLUMNS)},
                {", ".join(f"c.{name}" for name in HA1)}
            FROM wanted w JOIN credential c ON c.username = w.username
            WHERE NOT EXISTS (
                SELECT FROM subscriber s
                WHERE s.domain = %(realm)s::text AND s.username = w.username
            )
        RETURNING username AS name
    ) {_COUNT}
"""
REMOVE_ALIASES = f"""
    WITH touched AS (
        DELETE FROM dbaliases a
        WHERE a.alias_domain = %(realm)s::text AND (a.managed OR %(owns)s)
            AND NOT EXISTS (SELECT FROM wanted_alias w WHERE w.alias_username = a.alias_username)
        RETURNING a.alias_username AS name
    ) {_COUNT}
"""
CHANGE_ALIASES = f"""
    WITH touched AS (
        UPDATE dbaliases a SET username = w.username, domain = %(realm)s::text, managed = true
        FROM wanted_alias w
        WHERE a.alias_domain = %(realm)s::text AND a.alias_username = w.alias_username
            AND (a.username, a.domain, a.managed)
                IS DISTINCT FROM (w.username, %(realm)s::text, true)
        RETURNING a.alias_username AS name
    ) {_COUNT}
"""
ADD_ALIASES = f"""
    WITH touched AS (
        INSERT INTO dbaliases (alias_username, alias_domain, username, domain, managed)
            SELECT w.alias_username, %(realm)s::text, w.username, %(realm)s::text, true
            FROM wanted_alias w
            WHERE NOT EXISTS (
                SELECT FROM dbaliases a WHERE a.alias_domain = %(realm)s::text
                    AND a.alias_username = w.alias_username
            )
        RETURNING alias_username AS name
    ) {_COUNT}
"""

# One subscriber's new digest.
KNOWN = "SELECT true FROM subscriber WHERE domain = %(realm)s::text AND username = %(number)s"
RENEW = """
    UPDATE subscriber SET ha1 = %(ha1)s, ha1b = %(ha1b)s, ha1_sha256 = %(ha1_sha256)s
    WHERE domain = %(realm)s::text AND username = %(number)s AND managed
"""
FORGET_ONE = _deleted(f"FROM {table} WHERE username = %(number)s" for table in _LOCATIONS)
