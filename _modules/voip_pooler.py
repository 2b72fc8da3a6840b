"""The local pooler's credential, asked for at the server and at the pooler itself."""

import psycopg
import voip_sql
from salt.exceptions import CommandExecutionError
from voip_errors import Unavailable

__virtualname__ = "voip_pooler"

_SOCKET = "/run/pgbouncer"
_TIMEOUT_S = 10
# How the server words that it knows role or password not; such an error has no SQLSTATE in libpq.
_REFUSALS = ("authentication failed", "is not permitted to log in")


def __virtual__():
    return __virtualname__


def takes(pair):
    """Tell whether PostgreSQL lets this host in by `pair`; raises Unavailable when it says neither.

    pair: {"username", "password"}. Only for use by other modules: a job's arguments are logged.
    """
    ca_file = f"{__salt__['voip_pki.directory']()}/ca.crt"
    where = voip_sql.server(__pillar__["voip"], __opts__.get("voip_postgresql", {}), ca_file)
    for database in __pillar__["voip"]["pgbouncer"]["databases"]:
        try:
            psycopg.connect(
                **where, **voip_sql.login(pair), dbname=database, connect_timeout=_TIMEOUT_S
            ).close()
        except psycopg.OperationalError as err:
            if any(words in str(err) for words in _REFUSALS):
                return False
            raise Unavailable(f"PostgreSQL does not say: {str(err).strip()}") from err
    return True


def login():
    """Return the login role by which the pooler is in, for every database the same.

    Raises CommandExecutionError while its connections are of two, Unavailable.
    """
    settings = __pillar__["voip"]["pgbouncer"]
    found = set()
    for database in settings["databases"]:
        try:
            with psycopg.connect(
                host=_SOCKET,
                port=settings["port"],
                dbname=database,
                user=database,
                connect_timeout=_TIMEOUT_S,
                prepare_threshold=None,
            ) as connection:
                found.add(connection.execute("SELECT session_user::text").fetchone()[0])
        except psycopg.OperationalError as err:
            raise Unavailable(f"the pooler does not answer: {str(err).strip()}") from err
    if len(found) != 1:
        raise CommandExecutionError(f"the pooler is in as {', '.join(sorted(found)) or 'nobody'}")
    return found.pop()
