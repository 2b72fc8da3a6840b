"""One step of a credential's rotation, where it is done; the runner of this name leads.

`survey` and `advance` run on the host that provisions and write the document in the Vault, `prove`
runs on the host whose secret it is. Nothing returns, logs or raises a secret.
"""

import calendar
import secrets
import time

import voip_credentials
from salt.exceptions import CommandExecutionError
from voip_errors import NotFound

__virtualname__ = "voip_rotation"

_PASSWORD_BITS = 192
_PAUSE_S = 0.2


def __virtual__():
    return __virtualname__


def survey():
    """Return {"<host>/<name>": {"phase", "made"}} of the secrets that are rotated; no value.

    made: Unix time from which the pair that clients use counts. Policy: `provision`.
    """
    found = {}
    for host, entry in sorted(__pillar__["voip"]["provisioning"].items()):
        for name in entry["secrets"]:
            try:
                document, _, written = _read(host, name)
            except NotFound:
                continue
            found[f"{host}/{name}"] = {
                "phase": voip_credentials.phase(document),
                "made": document.get("made", written),
            }
    return found


def advance(host, name, step):
    """Do one step that writes the document of `host`'s secret `name`; returns its phase then.

    step: offer, switch, retire or finish. Raises CommandExecutionError in a phase that has no such
    step, and when somebody else wrote the document meanwhile. Policy: `provision`.
    """
    document, version, written = _read(host, name)
    username = password = ""
    if step == "offer":
        username = document["username"]
        if _kind(name).has_users:
            username = voip_credentials.other_name(host, username)
        password = secrets.token_urlsafe(_PASSWORD_BITS // 8)
        document.setdefault("made", written)
    wanted = voip_credentials.advance(document, step, username, password, int(time.time()))
    __salt__["voip_vault.session"]("provision").write(
        _path(host, name), {"data": wanted, "options": {"cas": version}}
    )
    return voip_credentials.phase(wanted)


def prove(name, phase, timeout_s=20):
    """Return {"taken", "refused"}: user names, as the server answered to this host just now.

    Whatever the document in the Vault says must be true: what servers are to take in this phase
    they take, a pair whose turn is over they refuse, and the clients are in by the one to be used.
    phase: what the document must say. Raises CommandExecutionError when it is not so in time.
    Policy: `read` on the host's own secret.
    """
    document = __salt__["voip_vault.read"](f"hosts/{__opts__['id']}/{name}")
    if voip_credentials.phase(document) != phase:
        raise CommandExecutionError(
            f"{name} is {voip_credentials.phase(document)}, not {phase}: another rotation is at it"
        )
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _prove(_kind(name), document)
        except CommandExecutionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _prove(kind, document):
    taken = voip_credentials.accepted(document)
    for pair in taken:
        if not __salt__[kind.takes](pair):
            raise CommandExecutionError(f"{kind.server} does not take {pair['username']}")
    gone = None
    if voip_credentials.phase(document) == voip_credentials.REVOKING:
        gone = voip_credentials.pair(document, "old")
    if gone and __salt__[kind.takes](gone):
        raise CommandExecutionError(f"{kind.server} still takes {gone['username']}'s old password")
    if kind.used_as and (used := __salt__[kind.used_as]()) != document["username"]:
        raise CommandExecutionError(f"the clients are still in as {used}")
    return {
        "taken": [pair["username"] for pair in taken],
        "refused": [gone["username"]] if gone else [],
    }


def _kind(name):
    try:
        return voip_credentials.KINDS[name]
    except KeyError:
        raise CommandExecutionError(f"no kind of secret that is rotated: {name}") from None


def _read(host, name):
    """(document, version, Unix time at which that was written)."""
    answer = __salt__["voip_vault.session"]("provision").read(_path(host, name))
    about = answer["metadata"]
    written = calendar.timegm(time.strptime(about["created_time"][:19], "%Y-%m-%dT%H:%M:%S"))
    return answer["data"], about["version"], written


def _path(host, name):
    return f"{__pillar__['voip']['vault']['kv_mount']}/data/hosts/{host}/{name}"
