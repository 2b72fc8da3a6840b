"""Rotation of one credential, as its document in the Vault's KV tells it: pure decisions.

A document has `username` and `password`, what clients use. While it is rotated it has a second pair
too, and `phase` says what the two are worth:

    stable    one pair; the document has no `phase`
    offered   `next_*` was made: servers take both, clients still use the old one
    moving    the pairs were swapped: clients use the new one, servers still take `old_*`
    revoking  servers take the new one only; `old_*` is kept until that is proved

So whoever reads `username` and `password` is always right, servers and clients that converge at
any moment do what the phase wants, and a rotation that died is continued by what the document says.
Where the server knows users (not only passwords) the two pairs have two names in turn.
"""

import dataclasses

from salt.exceptions import CommandExecutionError


@dataclasses.dataclass(frozen=True)
class Kind:
    """What rotates a secret of one name (pillar vault.yaml: secrets), and what uses it.

    age: which of pillar's ages counts, "database" or "api". server: the component that takes it, on
    the secret's own host or else wherever it runs; accept: its SLS. has_users: the two pairs have
    two names, otherwise one name has two passwords. clients: {component: SLS} that hold it on the
    secret's host.
    Functions of execution modules: takes(pair) tells whether the server lets it in; used_as() is
    the name that the clients are in by; drain(host, timeout_s, end) waits for sessions of the old
    one, and ends them.
    """

    age: str
    server: str
    accept: str
    takes: str
    has_users: bool = True
    clients: dict = dataclasses.field(default_factory=dict)
    used_as: str = ""
    drain: str = ""


KINDS = {
    "postgresql": Kind(
        age="database",
        server="postgresql",
        accept="postgresql.databases",
        takes="voip_pooler.takes",
        clients={"pgbouncer": "pgbouncer"},
        used_as="voip_pooler.login",
        drain="voip_postgresql.drain",
    ),
    # Of the proxies' link to it, which is started anew.
    "redis": Kind(
        age="database",
        server="redis",
        accept="redis",
        takes="voip_redis.takes",
        clients={"kamailio": "location"},
        has_users=False,
    ),
    # Of the relays' link, which reads its file for each new connection.
    "callstore": Kind(
        age="database",
        server="callstore",
        accept="callstore",
        takes="voip_redis.takes_callstore",
        clients={"rtpengine": "rtpengine.link"},
        has_users=False,
    ),
    "ami": Kind(
        age="api",
        server="asterisk",
        accept="asterisk",
        takes="asterisk_users.takes_manager",
        clients={"asterisk": "asterisk"},
        used_as="asterisk_users.manager",
        drain="asterisk_users.drain",
    ),
    "ari": Kind(
        age="api",
        server="asterisk",
        accept="asterisk",
        takes="asterisk_users.takes_rest",
        clients={"asterisk": "asterisk"},
        used_as="asterisk_users.rest",
    ),
}

STABLE, OFFERED, MOVING, REVOKING = "stable", "offered", "moving", "revoking"
# Each step of a rotation, and the phase in which it is done. `offer`, `switch`, `retire` and
# `finish` write the document and so begin the next phase; the others can be repeated.
STEPS = (
    ("offer", STABLE),
    ("accept", OFFERED),
    ("prove-new", OFFERED),
    ("switch", OFFERED),
    ("move", MOVING),
    ("prove-moved", MOVING),
    ("retire", MOVING),
    ("revoke", REVOKING),
    ("prove-revoked", REVOKING),
    ("finish", REVOKING),
)
# A host's name has no dot: the second name of one host is never the name of another.
SECOND = ".b"


def names(host):
    """Return the two user names that `host` has in turn."""
    return (host, f"{host}{SECOND}")


def other_name(host, username):
    """Return the name whose turn is next."""
    first, second = names(host)
    return second if username == first else first


def phase(document):
    """Return the phase of a document. Raises CommandExecutionError for one that is not known."""
    found = document.get("phase", STABLE)
    if found not in (STABLE, OFFERED, MOVING, REVOKING):
        raise CommandExecutionError(f"a credential in an unknown phase of its rotation: {found}")
    return found


def accepted(document):
    """Return the pairs that a server must take, the one that clients use first.

    [{"username", "password"}, ...]; [] for an empty document.
    """
    if not document.get("password"):
        return []
    second = {OFFERED: "next", MOVING: "old"}.get(phase(document))
    return [pair(document), *([pair(document, second)] if second else [])]


def pair(document, which=None):
    """Return one pair of a document, None when it has no such. which: None, "next" or "old"."""
    prefix = f"{which}_" if which else ""
    if not document.get(f"{prefix}password"):
        return None
    return {key: document.get(f"{prefix}{key}", "") for key in ("username", "password")}


def remaining(current, is_due):
    """Return the steps that are left, in their order.

    current: a phase. is_due: bool, whether a stable credential is to be rotated: one whose
    rotation has begun is finished in any case.
    """
    if current == STABLE and not is_due:
        return []
    first = next(index for index, (_, needed) in enumerate(STEPS) if needed == current)
    return [name for name, _ in STEPS[first:]]


def advance(document, step, username="", password="", now=0):
    """Return the document after `step` (offer, switch, retire or finish).

    username, password: of the new pair, for `offer`. now: Unix time, for `switch`, when the pair
    that clients use begins its life.
    Raises CommandExecutionError when the document is in no phase for it: somebody else was here.
    """
    if (step, phase(document)) not in STEPS:
        raise CommandExecutionError(f"{step} is no step of a credential that is {phase(document)}")
    kept = {
        key: value
        for key, value in document.items()
        if key not in ("phase", "username", "password", "made")
        and not key.startswith(("next_", "old_"))
    }
    mine = {key: document[key] for key in ("username", "password", "made") if key in document}
    if step == "offer":
        new = {"next_username": username, "next_password": password}
        return kept | mine | new | {"phase": OFFERED}
    if step == "switch":
        new, old = pair(document, "next"), _as_old(pair(document))
        return kept | new | old | {"phase": MOVING, "made": now}
    if step == "retire":
        return kept | mine | _as_old(pair(document, "old")) | {"phase": REVOKING}
    return kept | mine


def _as_old(known):
    return {f"old_{key}": value for key, value in known.items()}
