"""Make the subscribers those of the pillar: digests in the database, passwords in the Vault.

Set-based: whatever the number of subscribers, a change is one COPY and a handful of statements in
one transaction, and a run that changes nothing is one query. Passwords are made here; none is in
the database, in a return or in a log.

Policy: `create`, `read` and `update` on <kv_mount>/data/subscribers/*.
"""

import secrets

import voip_subscribers
from salt.exceptions import CommandExecutionError
from voip_errors import NotFound, Unavailable

try:
    import psycopg
except ImportError:  # the minion's requirements are not installed
    psycopg = None

__virtualname__ = "subscribers"

_PASSWORD_BITS = 144
_CONNECT_S = 5

# What the rows of a realm are, in one value. "C" so that two servers sort alike.
_FINGERPRINT = """
    SELECT encode(sha256(coalesce(string_agg(
        username || ':' || ha1 || ':' || ha1b || ':' || ha1_sha256, ','
        ORDER BY username COLLATE "C"
    ), '')::bytea), 'hex') FROM subscriber WHERE domain = %(realm)s::text
"""
_LAST = f"""
    SELECT desired_digest, fingerprint, ({_FINGERPRINT}) FROM subscriber_state
    WHERE domain = %(realm)s::text
"""  # noqa: S608 (no value comes from outside)
_WANTED = """
    CREATE TEMPORARY TABLE wanted (
        username text PRIMARY KEY, ha1 text, ha1b text, ha1_sha256 text
    ) ON COMMIT DROP
"""
_COUNT = "SELECT count(*), (array_agg(username ORDER BY username))[1:5] FROM touched"
_REMOVE = f"""
    WITH touched AS (
        DELETE FROM subscriber s WHERE s.domain = %(realm)s::text
            AND NOT EXISTS (SELECT FROM wanted w WHERE w.username = s.username)
        RETURNING s.username
    ) {_COUNT}
"""  # noqa: S608
_CHANGE = f"""
    WITH touched AS (
        UPDATE subscriber s SET ha1 = w.ha1, ha1b = w.ha1b, ha1_sha256 = w.ha1_sha256 FROM wanted w
        WHERE s.domain = %(realm)s::text AND s.username = w.username
            AND (s.ha1, s.ha1b, s.ha1_sha256) IS DISTINCT FROM (w.ha1, w.ha1b, w.ha1_sha256)
        RETURNING s.username
    ) {_COUNT}
"""  # noqa: S608
_ADD = f"""
    WITH touched AS (
        INSERT INTO subscriber (username, domain, ha1, ha1b, ha1_sha256)
            SELECT w.username, %(realm)s::text, w.ha1, w.ha1b, w.ha1_sha256 FROM wanted w
            WHERE NOT EXISTS (
                SELECT FROM subscriber s
                WHERE s.domain = %(realm)s::text AND s.username = w.username
            )
        RETURNING username
    ) {_COUNT}
"""  # noqa: S608
_FORGET_LOCATIONS = """
    DELETE FROM location l WHERE NOT EXISTS (SELECT FROM wanted w WHERE w.username = l.username)
    RETURNING l.username
"""
_REMEMBER = f"""
    INSERT INTO subscriber_state (domain, desired_digest, fingerprint)
        VALUES (%(realm)s::text, %(digest)s, ({_FINGERPRINT}))
    ON CONFLICT (domain) DO UPDATE SET desired_digest = excluded.desired_digest,
        fingerprint = excluded.fingerprint, applied_at = now()
"""  # noqa: S608


def __virtual__():
    if psycopg is None:
        return False, "the psycopg library is missing"
    return __virtualname__


def numbers():
    """Return the numbers that the pillar declares, sorted."""
    return sorted(item["number"] for item in __pillar__["voip"].get("subscribers", []))


def is_current(realm, wanted):
    """Tell whether the database holds exactly what the last `converge` of these numbers left.

    One query; the Vault is not asked.
    """
    with _connection() as link:
        last = link.execute(_LAST, {"realm": realm}).fetchone()
    if last is None:
        return False
    digest, before, now = last
    return digest == voip_subscribers.desired_digest(realm, wanted) and before == now


def converge(realm, wanted, test=False):
    """Make the subscribers of `realm` the numbers `wanted`; returns a state's changes.

    test: bool, do everything in the transaction and roll it back: what is returned is what a real
    run does. Nothing is written to the Vault then.
    A removed subscriber is unregistered at once, and its password destroyed.
    Raises NotFound (schema not applied), Denied, Sealed, Unavailable.
    """
    documents = _documents(wanted, test)
    rows = (
        (number, *voip_subscribers.credentials(number, realm, documents[path][number]))
        for path, group in voip_subscribers.by_shard(wanted).items()
        for number in group
    )
    values = {"realm": realm, "digest": voip_subscribers.desired_digest(realm, wanted)}
    with _connection() as link:
        # Two proxies that converge at once take turns.
        link.execute("SELECT pg_advisory_xact_lock(hashtext('subscribers'))")
        link.execute(_WANTED)
        with link.cursor().copy("COPY wanted FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        link.execute("ANALYZE wanted")
        removed = link.execute(_REMOVE, values).fetchone()
        changed = link.execute(_CHANGE, values).fetchone()
        added = link.execute(_ADD, values).fetchone()
        gone = sorted({row[0] for row in link.execute(_FORGET_LOCATIONS).fetchall()})
        link.execute(_REMEMBER, values)
        if test:
            link.rollback()
        else:
            _unregister(gone)
    if not test:
        _prune(documents, wanted)
    return voip_subscribers.changes(added, changed, removed)


def _connection():
    """A transaction through the local pooler: committed at the end of the block, or rolled back."""
    database = __pillar__["voip"]["kamailio"]["database"]
    try:
        return _Transaction(
            psycopg.connect(
                host=database["socket_directory"],
                port=database["port"],
                dbname=database["name"],
                user=database["user"],
                connect_timeout=_CONNECT_S,
                # The pooler gives each transaction any of its connections: nothing may be prepared.
                prepare_threshold=None,
            )
        )
    except psycopg.OperationalError as err:
        raise Unavailable(f"the database does not answer: {err}") from err


class _Transaction:
    """psycopg's connection block, with its errors as ours."""

    def __init__(self, link):
        self._link = link

    def __enter__(self):
        return self._link.__enter__()

    def __exit__(self, kind, error, trace):
        try:
            self._link.__exit__(kind, error, trace)
        except psycopg.Error as err:
            raise CommandExecutionError(f"the database refuses: {_words(err)}") from err
        if isinstance(error, psycopg.errors.UndefinedTable):
            raise NotFound(
                "the database has no subscriber tables yet: apply devstack, which makes them"
            ) from error
        if isinstance(error, psycopg.OperationalError):
            raise Unavailable(f"the database went away: {_words(error)}") from error
        if isinstance(error, psycopg.Error):
            raise CommandExecutionError(f"the database refuses: {_words(error)}") from error


def _words(error):
    """The server's message alone: its details may quote a row."""
    return (error.diag.message_primary if error.diag else None) or type(error).__name__


def _documents(wanted, test):
    """Return {KV path: {number: password}} with a password for every wanted number."""
    documents = {}
    for path, group in voip_subscribers.by_shard(wanted).items():
        document = _read(path)
        missing = [number for number in group if not document.get(number)]
        if missing and test:
            # Counts as a password that differs, as the one that a real run makes will.
            document |= {number: secrets.token_urlsafe() for number in missing}
        elif missing:
            __salt__["voip_vault.ensure"](path, missing, bits=_PASSWORD_BITS)
            document = _read(path)
        documents[path] = document
    return documents


def _read(path):
    try:
        return dict(__salt__["voip_vault.read"](path))
    except NotFound:
        return {}


def _prune(documents, wanted):
    """Destroy the passwords of numbers that are wanted no more, wherever one may be."""
    wanted = set(wanted)
    paths = set(documents)
    directory = voip_subscribers.SHARD_DIRECTORY
    paths |= {f"{directory}/{name}" for name in __salt__["voip_vault.keys"](directory)}
    for path in sorted(paths):
        document = documents.get(path)
        document = _read(path) if document is None else document
        kept = {number: word for number, word in document.items() if number in wanted}
        if kept != document:
            __salt__["voip_vault.write"](path, kept)


def _unregister(gone):
    """Take removed subscribers' contacts from the running proxy; one that is down has none."""
    for number in gone:
        try:
            __salt__["kamailio.unregister"](number)
        except Unavailable:
            return
