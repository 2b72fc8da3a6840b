"""The platform's Redis servers: their ACL files, made from the Vault's passwords, and their health.

There are two, by component: `redis`, and `callstore` for the media relays' live calls. Each host's
login for one is the secret of the component's name.

The file holds SHA-256 digests only. The passwords are random (192 bits), so a digest gives nothing
away; Redis itself stores no stronger form. On an existing server (pillar: external) the same users
are set by ACL SETUSER.
"""

import grp
import hashlib
import os
import pathlib

import redis
import voip_credentials
import voip_files
import voip_handshake
from redis.backoff import NoBackoff
from redis.retry import Retry
from salt.exceptions import CommandExecutionError
from voip_errors import Unavailable

__virtualname__ = "voip_redis"

HEALTH_USER = "health"


def __virtual__():
    return __virtualname__


def endpoint(component="redis"):
    """Return {address, port, name} of a Redis, {} where there is none.

    name: of the host, which its certificate carries.
    """
    voip = __pillar__["voip"]
    address = voip["endpoints"].get(component)
    if not address:
        return {}
    hosts = voip["hosts"].values()
    name = next((entry["fqdn"] for entry in hosts if entry.get("internal") == address), address)
    return {"address": address, "port": voip["ports"][component]["redis"], "name": name}


def users(component="redis"):
    """Return {host: rights}: who may use it, by pillar's roles and provisioned secrets."""
    voip = __pillar__["voip"]
    rights = voip[component]["users"]
    return {
        host: next(rights[role] for role in entry["roles"] if role in rights)
        for host, entry in sorted(voip["provisioning"].items())
        if component in entry["secrets"] and set(rights) & set(entry["roles"])
    }


def difference(users, path, component="redis"):
    """Return {user: {"old", "new"}} of the users that the ACL file has otherwise; no digest.

    Policy: `provision`, to read each user's hosts/<user>/<component>.
    """
    current, wanted = _parse(_text(path)), _parse(_render(users, component))
    return {
        name: {
            "old": "other rights or password" if name in current else None,
            "new": "set" if name in wanted else None,
        }
        for name in sorted({*current, *wanted})
        if current.get(name) != wanted.get(name)
    }


def write(users, path, group="redis", component="redis"):
    """Write the ACL file, readable by Redis only, and have a running Redis load it."""
    try:
        before = _administrator(component)
    except Unavailable:
        before = None  # it reads the file when it starts
    voip_files.write(path, _render(users, component), 0o640, grp.getgrnam(group).gr_gid)
    if before is not None:
        _run(before, "ACL", "LOAD")
    return True


def remote_difference(users):
    """Return {user: {"old", "new"}} of the users that an existing server has otherwise.

    Policy: `provision`, to read each user's hosts/<user>/redis and services/redis.
    """
    client = _administrator()
    found = {}
    for name, rules in _rules(users).items():
        before = client.acl_getuser(name)
        if before is None or _held(before) != set(rules) - {"resetchannels"}:
            old = "other rights or password" if before else None
            found[name] = {"old": old, "new": "set"}
    return found


def _held(user):
    """An ACL GETUSER answer as the set of rules that makes it."""
    return {
        *("on" if "on" in user["flags"] else "off",),
        *(f"#{digest}" for digest in user["passwords"]),
        *user["keys"],
        *user["channels"],
        *user["categories"],
        *user["commands"],
    }


def set_remote(users):
    """Give an existing server these users, others are left alone; and have it keep them. True."""
    client = _administrator()
    for name, rules in _rules(users).items():
        _run(client, "ACL", "SETUSER", name, "reset", *rules)
    if client.config_get("aclfile").get("aclfile"):
        _run(client, "ACL", "SAVE")
    else:
        _run(client, "CONFIG", "REWRITE")
    return True


def load_certificate():
    """Have Redis read its certificate and key again; connections stay."""
    return _load_certificate("redis")


def load_callstore_certificate():
    """As `load_certificate`, of the media relays' Redis."""
    return _load_certificate("callstore")


def _load_certificate(component):
    # The one that it shows until then may have ended or have other names, which is why it is
    # replaced: of our CA it must be.
    client = _administrator(
        component,
        ssl_check_hostname=False,
        ssl_include_verify_flags=[voip_handshake.NO_CHECK_TIME],
    )
    directory = __salt__["voip_pki.directory"]()
    _run(
        client,
        *("CONFIG", "SET", "tls-cert-file", f"{directory}/{component}.crt"),
        *("tls-key-file", f"{directory}/{component}.key"),
    )
    return True


def takes(pair, component="redis"):
    """Tell whether Redis lets this host in by `pair`; raises Unavailable when it cannot say.

    pair: {"username", "password"}. Only for use by other modules: a job's arguments are logged.
    """
    try:
        _client(pair, component).ping()
    except redis.AuthenticationError:
        return False
    except redis.exceptions.NoPermissionError:
        return True  # it may do less than PING
    except (redis.RedisError, OSError) as err:
        raise Unavailable(f"Redis does not say: {err}") from err
    return True


def takes_callstore(pair):
    """As `takes`, of the media relays' Redis."""
    return takes(pair, "callstore")


def ping(component="redis"):
    """Return True when it answers this host over verified TLS. Raises Unavailable."""
    return _run(_administrator(component), "PING") in (True, b"PONG", "PONG")


def ping_callstore():
    """As `ping`, of the media relays' Redis."""
    return ping("callstore")


def _administrator(component="redis", **verification):
    """A verified session as this host, whose role may load the ACL file and the certificate.

    verification: redis.Redis' own settings, where it is to be another.
    """
    voip = __pillar__["voip"]
    if voip[component].get("external"):
        known = __salt__["voip_vault_admin.read"]("services/redis")
    else:
        known = __salt__["voip_vault.read"](f"hosts/{__opts__['id']}/{component}")
    if not known:
        raise Unavailable(
            "the existing Redis' administrator is not in the Vault: write username and password "
            "to services/redis of the KV mount"
        )
    try:
        client = _client(known, component, **verification)
        client.ping()
    except (redis.RedisError, OSError) as err:
        raise Unavailable(f"Redis does not let {__opts__['id']} in: {err}") from err
    return client


def _client(pair, component="redis", **verification):
    voip = __pillar__["voip"]
    return redis.Redis(
        host=voip["endpoints"][component],
        port=voip["ports"][component]["redis"],
        username=pair["username"],
        password=pair["password"],
        ssl=True,
        ssl_ca_certs=f"{__salt__['voip_pki.directory']()}/ca.crt",
        socket_timeout=5,
        retry=Retry(NoBackoff(), 0),  # callers decide how long to wait
        **verification,
    )


def _run(client, *command):
    try:
        return client.execute_command(*command)
    except redis.RedisError as err:
        raise CommandExecutionError(f"Redis refuses {command[0]}: {err}") from err


def _render(users, component="redis"):
    lines = ["user default off resetkeys resetchannels -@all"]
    # The health probe's: it needs no password, and PING is all that it may say.
    lines.append(f"user {HEALTH_USER} on nopass resetkeys resetchannels -@all +ping")
    lines += [f"user {name} {' '.join(rules)}" for name, rules in _rules(users, component).items()]
    return "\n".join(lines) + "\n"


def _rules(users, component="redis"):
    """{user: [ACL rule, ...]}, passwords as their digests: two of them in a rotation's middle."""
    found = {}
    for name, rights in sorted(users.items()):
        document = __salt__["voip_vault_admin.read"](f"hosts/{name}/{component}")
        passwords = [pair["password"] for pair in voip_credentials.accepted(document)] or [""]
        found[name] = [
            "on",
            *(f"#{hashlib.sha256(word.encode()).hexdigest()}" for word in sorted(passwords)),
            *(f"~{pattern}" for pattern in rights["keys"]),
            "resetchannels",
            *(f"&{pattern}" for pattern in rights["channels"]),
            "-@all",
            *rights["commands"],
        ]
    return found


def _parse(text):
    return {line.split()[1]: line for line in text.splitlines() if line.startswith("user ")}


def _text(path):
    return pathlib.Path(path).read_text(encoding="utf-8") if os.path.exists(path) else ""
