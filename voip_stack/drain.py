"""Take a media host out of service without cutting a call, and bring it back.

That a host is drained is in the deployment's record, which the pillar reads: whatever converges
later, a proxy that restarts included, places no call there until it is undone.
"""

from __future__ import annotations

import time
from typing import Any

from voip_stack import deployment, paths
from voip_stack.master import client
from voip_stack.pillar import Pillar, load
from voip_stack.problem import Problem
from voip_stack.repair import state
from voip_stack.steps import Step, elapsed
from voip_stack.up import converge

POLL_S = 2
ANSWER_S = 30
MAINTENANCE_S = 30 * 86400
REASON = "drained"


def drained() -> dict[str, dict[str, Any]]:
    """{host: {since}} of what is being drained, or is."""
    found: dict[str, dict[str, Any]] = deployment.read().get("drained", {})
    return found


def begin(host: str, step: Step) -> None:
    """Have the proxies place no new call with `host`, which takes over no other's from now on.

    Problem for a host that is no media host, or the last one: every call would be refused.
    """
    pillar = load(paths.pillar_dir())
    relays = _media_hosts(pillar)
    if host not in relays:
        known = ", ".join(relays) or "none in pillar/topology.yaml"
        raise Problem(f"{host} is no media host", "", f"one of: {known}", 2)
    already = drained()
    if not [name for name in relays if name != host and name not in already]:
        raise Problem(
            f"{host} is the last media host that takes calls",
            "pillar/topology.yaml",
            "add a media host, or bring one back: ./voip drain HOST --undo",
        )
    if host not in already:
        _record(already | {host: {"since": time.time()}})
    _orchestrate(host, "begin", step)


def undo(host: str, step: Step) -> bool:
    """Bring `host` and its relay back into service. Returns whether it was drained."""
    was = host in drained()
    if host not in _media_hosts(load(paths.pillar_dir())):
        raise Problem(f"{host} is no media host", "", "./voip status shows what is drained", 2)
    _record({name: item for name, item in drained().items() if name != host})
    _orchestrate(host, "undo", step)
    if state.maintenance().get(host, {}).get("reason") == REASON:
        state.end_maintenance(host)
    return was


def sessions(host: str) -> int:
    """Calls' legs that are on `host`, and those of its relay where another host has it.

    A leg that has ended counts until RTPEngine forgets it (delete_delay_s).
    """
    found = carried()
    if host not in found:
        raise Problem(f"{host} does not say how many calls it carries", "", f"./voip logs {host}")
    own = sum(found[host].values())
    return own + sum(relays.get(host, 0) for name, relays in found.items() if name != host)


def carried() -> dict[str, dict[str, int]]:
    """{media host: {relay: legs}}: which relays each host has now. A silent host is missing."""
    hosts = _media_hosts(load(paths.pillar_dir()))
    if not hosts:
        return {}
    job = client.run(hosts, "rtpengine_relays.here", deadline_s=ANSWER_S)
    return {name: found for name, found in job.returns.items() if isinstance(found, dict)}


def wait(host: str, limit_s: float, step: Step) -> float:
    """Wait until no call is left, then put the host into maintenance. Returns the seconds it took.

    Problem when calls are left after limit_s: the host stays drained, they go on.
    """
    start = time.monotonic()
    while left := sessions(host):
        waited = time.monotonic() - start
        if waited > limit_s:
            raise Problem(
                f"{host} still carries {left} legs after {elapsed(waited)}; they go on, "
                "and it gets no new ones",
                "",
                f"wait on: ./voip drain {host}; or bring it back: ./voip drain {host} --undo",
            )
        step.say(f"{left} legs left")
        time.sleep(POLL_S)
    state.maintain(host, MAINTENANCE_S, REASON)
    return time.monotonic() - start


def _media_hosts(pillar: Pillar) -> list[str]:
    return [name for name in pillar.minions() if "rtpengine" in pillar.components_of(name)]


def _record(found: dict[str, dict[str, Any]]) -> None:
    deployment.update(drained=found or None)


def _orchestrate(host: str, what: str, step: Step) -> None:
    converge.orchestrate("drain", step, {"drain": {"host": host, "what": what}})
