"""This machine's secrets in the Vault: enrol, read, write. Secrets stay inside the minion process.

A VM's identity is one AppRole, in /etc/voip-stack/vault/approle.json (0600): role_id, secret_id,
its accessor and when it ends (docs/identity.md). Functions that return a secret refuse to run as a
job of their own: a job's return travels over the event bus and is kept in the master's job cache.

saltext-vault is not used for this: it reads its identity from the minion's configuration when the
minion starts, while ours arrives during a run, and its wrapping checks stop at the master.
"""

import json
import os
import secrets
import time

import voip_files
import voip_vault_client
import voip_vault_identity
import voip_x509
from voip_errors import Denied, NotFound, WrapSpent

__virtualname__ = "voip_vault"

SECRET_FUNCTIONS = ("voip_vault.read", "voip_vault.secret", "voip_vault_admin.read")


def __virtual__():
    return __virtualname__


def read(path, identity="approle", **kwargs):
    """Return the newest version of a KV secret, a dict.

    path: below the KV mount, such as "hosts/sip-1/postgresql". identity: see session().
    Policy: `read` on <kv_mount>/data/<path>.
    Raises NotFound, Denied, Sealed, Unavailable.
    """
    _refuse_as_job(kwargs)
    return session(identity).read(f"{_settings()['kv_mount']}/data/{path}")["data"]


def secret(name, key="password", **kwargs):
    """Return one value of this host's own secret `name`, such as secret("postgresql").

    Policy: `read` on <kv_mount>/data/hosts/<host>/<name>.
    """
    _refuse_as_job(kwargs)
    return read(f"hosts/{__opts__['id']}/{name}")[key]


def keys(path):
    """Return the names below a KV path, an empty list where nothing is.

    Policy: `list` on <kv_mount>/metadata/<path>.
    """
    return session().keys(f"{_settings()['kv_mount']}/metadata/{path}")


def write(path, data):
    """Write a new version of a KV secret. Returns True.

    data: dict, the whole secret. Only for use by states: arguments of a job are logged.
    Policy: `create` and `update` on <kv_mount>/data/<path>.
    """
    session().write(f"{_settings()['kv_mount']}/data/{path}", {"data": data})
    return True


def missing(path, names):
    """Return which of `names` the KV secret at `path` does not have, sorted; never a value.

    Policy: `read` on <kv_mount>/data/<path>.
    """
    try:
        current = read(path)
    except NotFound:
        current = {}
    return sorted(name for name in names if not current.get(name))


def ensure(path, names, bits=192, fixed=None, identity="approle"):
    """Make the values that the KV secret at `path` lacks. Returns the names made, sorted.

    names: list, each gets a random URL-safe value of `bits` bits. fixed: dict of values that are
    not secret, such as a username; written as given. What exists is kept.
    Policy: `create`, `read` and `update` on <kv_mount>/data/<path>.
    """
    made = []

    def complete(current):
        missing = [name for name in names if not current.get(name)]
        stale = {key: value for key, value in (fixed or {}).items() if current.get(key) != value}
        made[:] = sorted([*missing, *stale])
        return current | stale | {name: secrets.token_urlsafe(bits // 8) for name in missing}

    rewrite(path, complete, identity)
    return made


def rewrite(path, change, identity="approle"):
    """Make the KV secret at `path` what `change` makes of it. Returns that.

    change: function of the present values, a dict, {} where none are. Nothing is written when it
    returns an equal one. Of two who write the same secret at once, one fails (check-and-set).
    Only for use by modules: no job has a function for an argument.
    Policy: `create`, `read` and `update` on <kv_mount>/data/<path>.
    """
    where = f"{_settings()['kv_mount']}/data/{path}"
    try:
        answer = session(identity).read(where)
        current, version = answer["data"], answer["metadata"]["version"]
    except NotFound:
        current, version = {}, 0
    wanted = change(dict(current))
    if wanted != current:
        session(identity).write(where, {"data": wanted, "options": {"cas": version}})
    return wanted


def sign(csr_pem, common_name, alt_names, ip_sans, ttl_s):
    """Have the intermediate CA sign a CSR; returns {"certificate", "chain": [pem, ...]}.

    Policy: `update` on <pki_mount>/sign/<host>.
    """
    data = session().write(
        f"{_settings()['pki_mount']}/sign/{__opts__['id']}",
        {
            "csr": csr_pem,
            "common_name": common_name,
            "alt_names": ",".join(alt_names),
            "ip_sans": ",".join(ip_sans),
            "ttl": f"{ttl_s}s",
        },
    )["data"]
    return {"certificate": data["certificate"], "chain": data.get("ca_chain") or []}


def held():
    """Return {"accessor", "works", "due"} of this machine's identity; accessor None without one.

    works: it can log in. due: it must be replaced soon, by the server's clock (pillar vault.yaml:
    renew_fraction). Raises Unavailable or Sealed when the Vault cannot say.
    """
    identity = _identity("approle")
    if not identity or not identity.get("accessor"):
        return {"accessor": None, "works": False, "due": True}
    vault, settings = connect(), _settings()
    try:
        vault.login(settings["approle_mount"], identity["role_id"], identity["secret_id"])
        works = True
    except Denied:
        works = False
    due = voip_vault_identity.is_due(identity, settings["renew_fraction"], vault.now())
    return {"accessor": identity["accessor"], "works": works, "due": due}


def is_enrolled():
    """Tell whether this machine can log in with its AppRole, and for long enough.

    Raises Unavailable or Sealed when the Vault cannot say.
    """
    found = held()
    return found["works"] and not found["due"]


def enrol(role_id, wrap_token, ca_pem=None):
    """Unwrap this machine's secret_id, log in with it, and keep it. Returns its accessor.

    ca_pem: the root CA, stored first where the machine has none yet; pillar's by default. What the
    machine had before is replaced in one step, and only by an identity that has logged in.
    Raises WrapSpent when somebody else unwrapped it, it expired, or it wraps something else: then
    withdraw it, and ask why.
    """
    settings = _settings()
    ca_pem = ca_pem or __pillar__["voip"]["pki"].get("ca_pem")
    if ca_pem and not __salt__["voip_pki.trusted"]():
        __salt__["voip_pki.trust"](ca_pem)
    identity = voip_vault_identity.unwrap(
        connect(), wrap_token, settings["approle_mount"], __opts__["id"], role_id
    )
    connect().login(settings["approle_mount"], identity["role_id"], identity["secret_id"])
    store_identity("approle", identity)
    return identity["accessor"]


def accept(role_id, wrap_token, ca_pem=None):
    """As enrol, for the one who delivers: {"accessor"}, or {"spent": why} where that is raised.

    So that he tells an interception from any other failure without reading messages.
    """
    try:
        return {"accessor": enrol(role_id, wrap_token, ca_pem)}
    except WrapSpent as err:
        return {"spent": str(err)}


def status():
    """Return {"initialized", "sealed", "version", "url"}. Needs no policy."""
    vault = connect()
    answer = vault.call("get", "sys/seal-status")
    return {key: answer[key] for key in ("initialized", "sealed", "version")} | {"url": vault.url}


def connect():
    """Return a session that is not logged in."""
    settings = _settings()
    # Until OpenBao has a certificate of its own PKI, its own machine trusts the self-signed one.
    ca_file = bootstrap_ca_file()
    if not os.path.exists(ca_file):
        ca_file = f"{__salt__['voip_pki.directory']()}/ca.crt"
    return voip_vault_client.Session(
        settings["address"],
        __pillar__["voip"]["ports"]["openbao"]["api"],
        settings["name"],
        ca_file,
        adapter=voip_vault_client.OwnHost if _has_own_ended() else voip_vault_client.NamedHost,
    )


def _has_own_ended():
    """Whether the Vault is this machine's own, and its certificate past its end.

    So it is when it was sealed for longer than what was left: this machine alone renews it then.
    """
    if "openbao" not in __pillar__["voip"]["certificates"]:
        return False
    try:
        with open(f"{__salt__['voip_pki.directory']()}/openbao.crt", encoding="utf-8") as handle:
            (_, end), _ = voip_x509.life(handle.read())
    except (FileNotFoundError, ValueError):
        return False
    return end < time.time()


def session(name="approle"):
    """Return this process's session, logged in as `name`: approle (the host) or provision.

    Raises Denied when this machine is not enrolled.
    """
    key = f"voip_vault.session.{name}"
    if key not in __context__:
        identity = _identity(name)
        if not identity:
            raise Denied(
                f"this machine has no identity in the Vault ({_path(name)} is missing): enrol it, "
                "`./voip up` does"
            )
        __context__[key] = connect().login(
            _settings()["approle_mount"],
            identity["role_id"],
            identity["secret_id"],
            again=lambda: _identity(name) or identity,  # it may have been replaced since
        )
    return __context__[key]


def bootstrap_ca_file():
    """Return where the certificate is that this machine trusts before the PKI exists."""
    return f"{__salt__['voip_pki.directory']()}/openbao-bootstrap.crt"


def forget():
    """Drop this process's sessions: what they verify the server by has changed."""
    for key in [key for key in __context__ if key.startswith("voip_vault.session.")]:
        del __context__[key]


def store_identity(name, identity):
    """Keep an identity under `name`, 0600: a dict as _utils/voip_vault_identity describes it."""
    voip_files.write(_path(name), json.dumps(identity), mode=0o600, directory_mode=0o700)
    __context__.pop(f"voip_vault.session.{name}", None)


def _identity(name):
    try:
        with open(_path(name), encoding="utf-8") as handle:
            return json.load(handle)
    except (FileNotFoundError, ValueError):
        return None


def _path(name):
    return f"{__opts__.get('voip_stack_dir', '/etc/voip-stack')}/vault/{name}.json"


def _settings():
    return __pillar__["voip"]["vault"]


def _refuse_as_job(kwargs):
    # __pub_fun is the function that the job asked for; Salt hands it to whatever takes kwargs.
    if kwargs.get("__pub_fun") in SECRET_FUNCTIONS:
        raise Denied(
            f"{kwargs['__pub_fun']} returns a secret: a job's return is kept by the master. Call "
            "it from a state"
        )
