"""Make the subscribers those of the pillar: what the proxies ask for in the database, passwords in
the Vault.

Set-based: whatever the number of subscribers, a change is a COPY and a handful of statements in
one transaction, and a run that changes nothing is two queries. Passwords are made here; none is in
the database, in a return or in a log.

Policy: `create`, `read` and `update` on <kv_mount>/data/subscribers/*.
"""

import contextlib
import secrets

import voip_subscriber_sql as sql
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
_PIECE_BYTES = 1 << 18
# Components of this host that keep registrations; each has a module of its name.
_PROXIES = ("kamailio", "opensips")


def __virtual__():
    if psycopg is None:
        return False, "the psycopg library is missing"
    return __virtualname__


def count():
    """Return how many subscribers the pillar declares."""
    return __pillar__["voip"]["subscribers"]["count"]


def foreign(realm):
    """Return (how many, a sample of their numbers) of the rows that others made."""
    with _connection() as link:
        return _counted(link.execute(sql.FOREIGN, {"realm": realm}))


def is_current(realm):
    """Tell whether the database holds exactly what the last `converge` of this pillar left.

    One query; the Vault is not asked.
    """
    with _connection() as link:
        found = link.execute(
            sql.IS_CURRENT, {"realm": realm, "digest": _wanted()["digest"]}
        ).fetchone()
    return bool(found and found[0])


def converge(realm, owns=False, test=False):
    """Make the subscribers of `realm` those of the pillar; returns (a state's changes, number of
    statements).

    owns: bool, rows that others made are removed too. test: bool, do everything in the transaction
    and roll it back: what is returned is what a real run does; the Vault is not written to.
    Contacts of removed and suspended subscribers are dropped at once, passwords of removed ones
    destroyed. Interrupted, nothing or all of it is in the database; what is left to drop is dropped
    by the next run.
    Raises NotFound (schema not applied), Denied, Sealed, Unavailable.
    """
    wanted = _wanted()
    values = {"realm": realm, "owns": owns, "digest": wanted["digest"]}
    with _connection() as link:
        link.execute(sql.LOCK)
        link.execute(sql.PLAN)
        _copy_packed(link, sql.WANTED, wanted["rows"])
        _copy_packed(link, sql.WANTED_ALIAS, wanted["aliases"])
        last = link.execute(sql.LAST, values).fetchone()
        is_untouched = bool(last and last[1])
        needed = [row[0] for row in link.execute(sql.NEW if is_untouched else sql.ALL, values)]
        _copy(link, sql.CREDENTIAL, _credentials(needed, realm, test))
        touched = {
            "removed": _counted(link.execute(sql.REMOVE, values)),
            "changed": _counted(link.execute(sql.CHANGE, values)),
            "added": _counted(link.execute(sql.ADD, values)),
            "aliases removed": _counted(link.execute(sql.REMOVE_ALIASES, values)),
            "aliases changed": _counted(link.execute(sql.CHANGE_ALIASES, values)),
            "aliases added": _counted(link.execute(sql.ADD_ALIASES, values)),
        }
        gone = [row[0] for row in link.execute(sql.STALE, values)]
        link.execute(sql.REMEMBER, values)
        if test:
            link.rollback()
    if not test:
        _forget_known()
        _unregister(gone)
        with _connection() as rest:
            rest.execute(sql.FORGET, values)
        if touched["removed"][0] or not is_untouched:
            _prune()
    touched["unregistered"] = (len(gone), gone[: voip_subscribers.SAMPLE])
    return voip_subscribers.changes(**touched), link.statements


def rotate(number, realm=None):
    """Give one subscriber a new password; drop its registrations. Returns {"number",
    "unregistered"}, never the password: `voip subscribers password` reads it from the Vault.

    A device has to know the new password to register again. Interrupted, the next state run makes
    database and Vault agree.
    Raises NotFound for a number that is not in the database.
    """
    number = str(number)  # Salt's command line makes an integer of 1002
    values = {"realm": realm or __pillar__["voip"]["site"]["domain"], "number": number}
    with _connection() as link:
        link.execute(sql.LOCK)
        last = link.execute(sql.LAST, values).fetchone()
        is_known = link.execute(sql.KNOWN, values).fetchone()
        if not is_known:
            raise NotFound(f"{number} is not in the database: add it, and apply the state")
        link.execute(sql.DOUBT, values)
    word = _keep(voip_subscribers.shard_path(number), lambda found: found | _made([number]))[number]
    digests = voip_subscribers.credentials(number, values["realm"], word)
    with _connection() as link:
        link.execute(sql.LOCK)
        link.execute(sql.RENEW, values | dict(zip(sql.HA1, digests, strict=True)))
        if last and last[1]:  # nobody else had written: what is there now can be trusted
            link.execute(sql.REMEMBER, values | {"digest": last[0]})
    _forget_known()
    was_registered = _unregister([number])
    with _connection() as link:
        link.execute(sql.FORGET_ONE, values)
    return {"number": number, "unregistered": bool(was_registered)}


def _wanted():
    return __pillar__["voip"]["subscribers"]


def _counted(cursor):
    number, sample = cursor.fetchone()
    return number, sample


def _copy_packed(link, table, packed):
    """Make one of voip_subscriber_sql's temporary tables of CSV as the pillar has it."""
    text = voip_subscribers.unpack(packed)
    pieces = (text[at : at + _PIECE_BYTES] for at in range(0, len(text), _PIECE_BYTES))
    # An empty value is an empty text: nothing in the pillar's rows is NULL.
    _fill(
        link, table, "WITH (FORMAT csv, NULL '\\N')", lambda copy, piece: copy.write(piece), pieces
    )


def _copy(link, table, rows):
    _fill(link, table, "", lambda copy, row: copy.write_row(row), rows)


def _fill(link, table, form, write, items):
    name, make, columns = table
    link.execute(make)
    with link.copy(f"COPY {name} ({', '.join(columns)}) FROM STDIN {form}") as copy:
        for item in items:
            write(copy, item)


def _credentials(numbers, realm, test):
    """Rows of the temporary table: each number's digests, by a password that is made if need be."""
    for path, group in voip_subscribers.by_shard(numbers).items():
        if test:
            # A missing one counts as different, as the one that a real run makes will.
            found = _made(group) | _read(path)
        else:
            found = _keep(path, lambda found, group=group: _made(set(group) - set(found)) | found)
        for number in group:
            yield (number, *voip_subscribers.credentials(number, realm, found[number]))


def _made(numbers):
    return {number: secrets.token_urlsafe(_PASSWORD_BITS // 8) for number in numbers}


def _read(path):
    try:
        return voip_subscribers.passwords(__salt__["voip_vault.read"](path))
    except NotFound:
        return {}


def _keep(path, change):
    """Make the passwords of a document what `change` makes of {number: password}; returns them."""

    def rewritten(document):
        found = voip_subscribers.passwords(document)
        wanted = change(found)
        return document if wanted == found else voip_subscribers.document(wanted)

    return voip_subscribers.passwords(__salt__["voip_vault.rewrite"](path, rewritten))


def _prune():
    """Destroy the passwords of numbers that are wanted no more, wherever one may be."""
    wanted = voip_subscribers.numbers(_wanted()["rows"])
    directory = voip_subscribers.SHARD_DIRECTORY
    for name in sorted(__salt__["voip_vault.keys"](directory)):
        _keep(
            f"{directory}/{name}",
            lambda found: {number: word for number, word in found.items() if number in wanted},
        )


def _forget_known():
    """The proxies ask the database anew at once; those of other hosts do within a second."""
    for forget in _functions("forget_subscribers"):
        with contextlib.suppress(Unavailable, NotFound):  # one that is down remembers nobody
            forget()


def _unregister(gone):
    """Take contacts from the running proxies, and return whose there were. One that is down has
    none."""
    found = set()
    for unregister in _functions("unregister"):
        for number in gone:
            try:
                if unregister(number):
                    found.add(number)
            except Unavailable:
                break
    return sorted(found)


def _functions(name):
    """This function of each proxy that this host has."""
    own = [item for item in _PROXIES if item in __pillar__["voip"]["self"]["components"]]
    return [__salt__[f"{item}.{name}"] for item in own if f"{item}.{name}" in __salt__]


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
    """psycopg's connection block, with its errors as ours. statements: how many were sent."""

    def __init__(self, link):
        self._link = link
        self.statements = 0

    def __enter__(self):
        self._link.__enter__()
        return self

    def execute(self, statement, values=None):
        self.statements += 1
        return self._link.execute(statement, values)

    def copy(self, statement):
        self.statements += 1
        return self._link.cursor().copy(statement)

    def rollback(self):
        self._link.rollback()

    def __exit__(self, kind, error, trace):
        try:
            self._link.__exit__(kind, error, trace)
        except psycopg.Error as err:
            raise CommandExecutionError(f"the database refuses: {_words(err)}") from err
        if isinstance(error, (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)):
            raise NotFound(
                "the database lacks tables or columns of subscribers: apply devstack, it makes them"
            ) from error
        if isinstance(error, psycopg.OperationalError):
            raise Unavailable(f"the database went away: {_words(error)}") from error
        if isinstance(error, psycopg.Error):
            raise CommandExecutionError(f"the database refuses: {_words(error)}") from error


def _words(error):
    """The server's message alone: its details may quote a row."""
    return (error.diag.message_primary if error.diag else None) or type(error).__name__
