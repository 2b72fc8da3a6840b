"""PostgreSQL on its own machine: owners, databases, logins and schemas, in a few statements.

Root reaches the server as `postgres` by the unix socket and a peer map (pg_ident.conf): no password
exists for that. An existing server (pillar: external) is reached over verified TLS instead.
Passwords of logins come from the Vault and leave this process as SCRAM verifiers.
"""

import hashlib
import time

import psycopg
import voip_credentials
import voip_scram
import voip_sql
from psycopg import sql
from salt.exceptions import CommandExecutionError
from voip_errors import NotFound, Unavailable

__virtualname__ = "voip_postgresql"

_ROLES = "SELECT rolname, rolcanlogin, rolpassword FROM pg_authid"
_DATABASES = """
    SELECT datname, pg_get_userbyid(datdba), has_database_privilege('public', oid, 'CONNECT')
    FROM pg_database"""
_MEMBERS = """
    SELECT pg_get_userbyid(member), pg_get_userbyid(roleid) FROM pg_auth_members"""
_DEFAULT_ROLES = """
    SELECT pg_get_userbyid(setrole), datname, replace(setting, 'role=', '')
    FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase,
         unnest(setconfig) AS setting
    WHERE setting LIKE 'role=%'"""
_PAUSE_S = 0.2
_LEDGER = """
    CREATE TABLE IF NOT EXISTS voip_schema (
        version    INTEGER PRIMARY KEY,
        name       TEXT NOT NULL,
        checksum   TEXT NOT NULL,
        applied_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now())"""


def __virtual__():
    return __virtualname__


def logins():
    """Return {database: [host, ...]}: who logs in, by pillar's roles and provisioned secrets."""
    voip = __pillar__["voip"]
    return {
        database: [
            host
            for host, entry in sorted(voip["provisioning"].items())
            if set(settings["roles"]) & set(entry["roles"]) and "postgresql" in entry["secrets"]
        ]
        for database, settings in sorted(voip["postgresql"]["databases"].items())
    }


def names(host):
    """Return the login roles that `host` has in turn: a rotation moves it from one to the other."""
    return list(voip_credentials.names(host))


def drain(host, timeout_s=30, end=False):
    """Wait until nobody is in by the login role that `host` leaves. Returns how many still are.

    end: bool, end their sessions then; `converge` does too, when it takes the role's login.
    Policy: `provision`, to read hosts/<host>/postgresql.
    """
    current = __salt__["voip_vault_admin.read"](f"hosts/{host}/postgresql").get("username")
    roles = [name for name in names(host) if name != current]
    deadline = time.monotonic() + timeout_s
    with _connect() as connection:
        while True:
            (left,) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = ANY(%s)", (roles,)
            ).fetchone()
            if not left or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_S)
        if left and end:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)",
                (roles,),
            )
    return left


def difference(databases):
    """Return what the server lacks: {"owner kamailio": {"old", "new"}, ...}, never a password.

    databases: {owner's name: [login, ...]}; a login is a host's name.
    Policy: `provision`, to read each login's hosts/<login>/postgresql.
    """
    return {label: change for label, change, _ in _plan(databases)}


def converge(databases):
    """Make what `difference` names. Returns its labels."""
    steps = _plan(databases)
    with _connect() as connection:
        for _, _, statement in steps:
            connection.execute(statement)
    return [label for label, _, _ in steps]


def schema_difference(database, files):
    """Return {file: "new"} for the schema files that were not applied to `database` yet.

    files: {name: text}, names begin with their number, as in 001-proxy.sql. Raises
    CommandExecutionError when a file was edited after it was applied.
    """
    try:
        applied = _applied(database)
    except NotFound:
        applied = {}
    found = {}
    for name, text in sorted(files.items()):
        version = _version(name)
        if version not in applied:
            found[name] = "new"
        elif applied[version] != _checksum(text):
            raise CommandExecutionError(
                f"{name} was edited after it was applied to {database}: put the change into a new "
                "file with the next number"
            )
    return found


def apply_schema(database, files):
    """Apply schema files to `database` as its owner, each in a transaction of its own."""
    with _connect(database) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(database)))
        connection.execute(_LEDGER)
        for name, text in sorted(files.items()):
            try:
                with connection.transaction():
                    connection.execute(text)
                    connection.execute(
                        "INSERT INTO voip_schema (version, name, checksum) VALUES (%s, %s, %s)",
                        (_version(name), name, _checksum(text)),
                    )
            except psycopg.Error as err:
                raise CommandExecutionError(f"{name}: {str(err).strip()}") from err
    return sorted(files)


def schema_files(source, saltenv="base"):
    """Return {name: text} of the SQL files in the salt:// directory `source`."""
    prefix = source.removeprefix("salt://").rstrip("/") + "/"
    return {
        path.removeprefix(prefix): __salt__["cp.get_file_str"](f"salt://{path}", saltenv=saltenv)
        for path in __salt__["cp.list_master"](saltenv, prefix)
        if path.endswith(".sql") and "/" not in path.removeprefix(prefix)
    }


def ping():
    """Return the server's version, such as "17.6". Raises Unavailable when it does not answer."""
    with _connect() as connection:
        return connection.execute("SHOW server_version").fetchone()[0].split()[0]


def reload():
    """Have the server read its certificate, settings and pg_hba.conf again; sessions go on."""
    with _connect() as connection:
        connection.execute("SELECT pg_reload_conf()")
    return True


def _plan(databases):
    """[(label, {"old", "new"}, statement), ...] in the order in which they must run."""
    state = _state()
    steps = []
    for owner, logins in databases.items():
        name = sql.Identifier(owner)
        if owner not in state["roles"]:
            steps.append(_step(f"owner {owner}", "CREATE ROLE {} NOLOGIN", name))
        if owner not in state["databases"]:
            steps.append(_step(f"database {owner}", "CREATE DATABASE {} OWNER {}", name, name))
        if state["databases"].get(owner, True):
            steps.append(
                _step(f"privacy of {owner}", "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
            )
        for login in logins:
            steps += _login_steps(state, owner, login)
    return list({label: (label, *rest) for label, *rest in steps}.values())


def _login_steps(state, owner, host):
    """Of the roles that `host` has in turn, those that its document in the Vault names log in."""
    document = __salt__["voip_vault_admin.read"](f"hosts/{host}/postgresql")
    passwords = {pair["username"]: pair["password"] for pair in voip_credentials.accepted(document)}
    if not passwords:
        passwords = {host: None}  # a test run, before the secret was made
    steps = []
    for login in names(host):
        if login in passwords:
            steps += _accept_steps(state, owner, login, passwords[login])
        elif login in state["roles"]:
            steps += _refuse_steps(state["roles"][login], login)
    return steps


def _accept_steps(state, owner, login, password):
    who, group = sql.Identifier(login), sql.Identifier(owner)
    current = state["roles"].get(login)
    steps = []
    if current is None:
        steps.append(_step(f"login {login}", "CREATE ROLE {} LOGIN", who))
    if (
        not password
        or not current
        or not current["login"]
        or not voip_scram.is_verifier_of(current["verifier"], password)
    ):
        hashed = sql.Literal(voip_scram.verifier(password)) if password else sql.SQL("NULL")
        steps.append(
            _step(
                f"password of {login}",
                "ALTER ROLE {} LOGIN PASSWORD {}",
                who,
                hashed,
                old=bool(current),
            )
        )
    if (login, owner) not in state["members"]:
        steps.append(_step(f"{login} in {owner}", "GRANT {} TO {}", group, who))
    if state["default_roles"].get((login, owner)) != owner:
        steps.append(
            _step(
                f"{login} acts as {owner}",
                "ALTER ROLE {} IN DATABASE {} SET role TO {}",
                who,
                group,
                group,
            )
        )
    return steps


def _refuse_steps(current, login):
    """A role whose turn is over: no password, no login, and nobody is in by it any more."""
    if not current["login"] and current["verifier"] is None:
        return []
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}"
    return [
        _step(f"end of {login}", "ALTER ROLE {} NOLOGIN PASSWORD NULL", sql.Identifier(login)),
        _step(f"sessions of {login}", ending, sql.Literal(login)),
    ]


def _step(label, statement, *parts, old=None):
    change = {"old": "another" if old else None, "new": "set"}
    return label, change, sql.SQL(statement).format(*parts)


def _state():
    """What the server has. In test mode a server that is not there yet has nothing."""
    empty = {"roles": {}, "databases": {}, "members": set(), "default_roles": {}}
    try:
        connection = _connect()
    except Unavailable:
        if __opts__["test"]:
            return empty
        raise
    with connection:
        return {
            "roles": {
                name: {"login": login, "verifier": verifier}
                for name, login, verifier in connection.execute(_ROLES)
            },
            "databases": {name: is_open for name, _, is_open in connection.execute(_DATABASES)},
            "members": set(connection.execute(_MEMBERS)),
            "default_roles": {
                (role, database): value
                for role, database, value in connection.execute(_DEFAULT_ROLES)
            },
        }


def _applied(database):
    try:
        with _connect(database) as connection:
            return dict(connection.execute("SELECT version, checksum FROM voip_schema").fetchall())
    except psycopg.errors.UndefinedTable as err:
        raise NotFound(f"{database} has no schema yet") from err
    except Unavailable:
        if __opts__["test"]:
            return {}
        raise


def _connect(database="postgres"):
    try:
        return psycopg.connect(
            **_administrator(),
            dbname=database,
            connect_timeout=10,
            application_name="salt",
            autocommit=True,
        )
    except psycopg.OperationalError as err:
        raise Unavailable(f"PostgreSQL does not let us in: {str(err).strip()}") from err


def _administrator():
    """How the server is reached with all rights: root's socket, or what the Vault says of it."""
    voip, local = __pillar__["voip"], __opts__.get("voip_postgresql", {})
    port = local.get("port") or voip["ports"]["postgresql"]["sql"]
    if not voip["postgresql"]["external"]:
        return {
            "host": local.get("socket", "/var/run/postgresql"), "port": port, "user": "postgres",
        }  # fmt: skip
    known = __salt__["voip_vault_admin.read"]("services/postgresql")
    if not known:
        raise Unavailable(
            "the existing PostgreSQL's administrator is not in the Vault: write username and "
            "password to services/postgresql of the KV mount"
        )
    ca_file = f"{__salt__['voip_pki.directory']()}/ca.crt"
    return voip_sql.server(voip, local, ca_file) | voip_sql.login(known)


def _version(name):
    try:
        return int(name.split("-")[0])
    except ValueError:
        raise CommandExecutionError(
            f"{name}: a schema file's name begins with its number"
        ) from None


def _checksum(text):
    return hashlib.sha256(text.encode()).hexdigest()
