"""Move devices from one proxy to the other: the primary proxy of the pillar, and who is left.

New connections go to the primary as soon as salt/shared has converged. Who is registered elsewhere
moves when it renews its registration (_modules/voip_shared.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voip_stack import deployment, paths
from voip_stack.pillar import compile as compiled
from voip_stack.pillar import load
from voip_stack.problem import Problem

# One question to a minion is so long: short, so that the others' jobs find it free.
TURN_S = 5
# Ask(host, function, *arguments) -> its return. Say(text).
Ask = Callable[..., Any]
Say = Callable[[str], None]
POLICIES = "policies.yaml"


def primary() -> str | None:
    """The proxy that the pillar declares, or that could be had."""
    return compiled.primary(load(paths.pillar_dir()), deployment.read())


def declare(proxy: str) -> bool:
    """Write into the pillar that `proxy` is the primary. Returns whether it was another one.

    Problem for one that could not be had, and where no host has a shared address.
    """
    pillar, facts = load(paths.pillar_dir()), deployment.read()
    known = compiled.proxies(pillar, facts)
    if proxy not in known:
        raise Problem(f"{proxy} does not run here", "", f"one of: {', '.join(known)}", 2)
    if not any(pillar.hosts[name].shared for name in pillar.minions()):
        raise Problem(
            "no host has a shared address, so nobody can be moved",
            "pillar/topology.yaml",
            "give the proxies' host one: hosts.NAME.shared",
        )
    if pillar.routing.primary_proxy == proxy:
        return False
    file = paths.pillar_dir() / POLICIES
    written = _with_primary(file, proxy)
    file.write_bytes(written)
    return True


def _with_primary(file: Path, proxy: str) -> bytes:
    """The file with this one value replaced: comments, quotes and the rest stay as they are."""
    lines = file.read_text().splitlines(keepends=True)
    found = [
        index for index, line in enumerate(lines) if line.lstrip().startswith("primary_proxy:")
    ]
    if len(found) != 1:
        raise Problem(
            "routing.primary_proxy is not on a line of its own", str(file), "write it by hand"
        )
    key, _, rest = lines[found[0]].partition(":")
    old = rest.split("#")[0].strip()
    lines[found[0]] = f"{key}:{rest.replace(old, proxy, 1)}"
    return "".join(lines).encode()


def move(ask: Ask, hosts: list[str], wait_s: float, say: Say = lambda text: None) -> dict[str, Any]:
    """Have everybody who is registered at another proxy come to the primary.

    Returns {"to", "moved": [number], "left": registrations elsewhere, "calls": legs that go on
    there, "took_s"}. Ends when nobody is left, or after wait_s: who is left stays where it is, in
    service, and another run goes on.
    """
    began = time.monotonic()
    run = f"{time.time():.0f}"
    found: dict[str, Any] = {"to": None, "moved": [], "left": 0, "calls": 0}
    while True:
        found["left"] = found["calls"] = 0
        for host in hosts:
            counts = ask(host, "voip_shared.counts")
            found["to"] = counts["primary"]
            for proxy, there in counts["proxies"].items():
                if proxy == counts["primary"] or there is None:
                    continue
                if there["registered"]:
                    there = ask(host, "voip_shared.leave", proxy, run, TURN_S)
                    found["moved"] += there["moved"]
                found["left"] += there["registered"]
                found["calls"] += there["calls"]
        waited = time.monotonic() - began
        say(f"{len(found['moved'])} moved, {found['left']} left, {found['calls']} calls go on")
        if not found["left"] or waited >= wait_s:
            return found | {"moved": sorted(found["moved"]), "took_s": round(waited, 1)}
