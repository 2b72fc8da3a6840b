"""Rotate the intermediate CA: another signs, every certificate is replaced, the old one goes.

Everybody trusts the root, and each certificate brings its own intermediate along, so both are good
at the same time. Who checks by lists must have the new one's before it signs anything. The phase
is in the Vault (docs/adr/0011), every step can be repeated: a run that died is gone on with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from voip_stack import identity
from voip_stack.certificates import revocation
from voip_stack.certificates.renew import held, renew
from voip_stack.events.locks import one_at_a_time
from voip_stack.master import client
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem

LOCK = "authority"
STABLE = "stable"
_ASK_S = 120
Say = Callable[[str], None]


class Busy(Problem):
    """Another rotation runs: nothing is wrong, and nobody has to be told."""


def progress(pillar: Pillar) -> dict[str, Any]:
    """How far a rotation is, and the intermediate CAs: voip_vault_authority.progress."""
    return _ask(pillar, "progress")


def rotate(pillar: Pillar, say: Say, *, revoke_old: bool = False) -> dict[str, Any]:
    """Rotate, or go on with a rotation that has begun. Returns {"old", "new", "steps", "replaced"}.

    say: told each step and each certificate. revoke_old: the root revokes the old intermediate CA
    at the end; what the run that began it said holds. Problem at the first step that fails: until
    then both are good, and the next run goes on.
    """
    with one_at_a_time(LOCK) as is_mine:
        if not is_mine:
            raise Busy("Another rotation of the intermediate CA is running", "", "wait for it")
        return _rotate(pillar, say, revoke_old)


def go_on(pillar: Pillar, say: Say) -> dict[str, Any] | None:
    """What the master does by itself: end a rotation that has begun, begin one that is due."""
    found = progress(pillar)
    if found["phase"] == STABLE and not found["due"]:
        return None
    return rotate(pillar, say)


def _rotate(pillar: Pillar, say: Say, revoke_old: bool) -> dict[str, Any]:
    before = {
        "switch": lambda _: revocation.refresh(pillar),
        "close": lambda new: replaced.extend(_replace_all(pillar, new, say)),
        "remove": lambda _: revocation.refresh(pillar),
    }
    more = {
        "begin": {
            "common_name": f"{pillar.site.domain} intermediate CA",
            "revoke_old": revoke_old,
        }
    }
    replaced: list[str] = []
    done: list[str] = []
    known = progress(pillar)
    old, new = known["old"], known["new"]
    while not done or known["phase"] != STABLE:
        step = known["step"]
        if step in before:
            before[step](known["new"])
        known = _ask(pillar, "advance", step=step, **more.get(step, {}))
        done.append(step)
        say(f"{step}: the rotation is {known['phase']}")
        old, new = known["old"] or old, known["new"] or new
    # The old one's list goes from every file: what it signed is refused for want of one.
    revocation.refresh(pillar)
    return {"old": old, "new": new, "steps": done, "replaced": replaced}


def _replace_all(pillar: Pillar, new: str, say: Say) -> list[str]:
    """One by one, have each certificate signed by `new`; then prove that all of them are shown."""
    every, replaced = held(pillar), []
    for host, name in every:
        if _authority(host, name) != new:
            renew(host, name, by="rotation of the CA")
            replaced.append(f"{host}/{name}")
            say(f"{host}/{name}: replaced")
    for host, name in every:
        _prove(host, name, new)
    say(f"{len(every)} certificates are shown with the new intermediate CA")
    return replaced


def _prove(host: str, name: str, new: str) -> None:
    """Problem unless every listener of `name` shows a chain by `new` that the root verifies."""
    if _authority(host, name) != new:
        raise Problem(
            f"{name} of {host} has a certificate of another intermediate CA", host, "run it again"
        )
    if wrong := client.call(host, "voip_tls.chained", name, timeout_s=_ASK_S):
        told = "; ".join(f"{where}: {what}" for where, what in sorted(wrong.items()))
        raise Problem(
            f"{name} of {host} does not show its certificate of the new intermediate CA: {told}",
            host,
            "both CAs stay good; mend the daemon, then run the same command again",
        )


def _authority(host: str, name: str) -> str | None:
    for entry in client.call(host, "voip_pki.inventory", timeout_s=_ASK_S):
        if entry["component"] == name:
            return entry.get("authority")
    return None


def _ask(pillar: Pillar, function: str, **keywords: Any) -> Any:
    provisioner = identity.provisioner(pillar)
    return client.call(
        provisioner, f"voip_vault_authority.{function}", timeout_s=_ASK_S, **keywords
    )
