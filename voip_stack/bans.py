"""Whom the proxies have shut out, and letting somebody in again. By the minions' modules."""

from __future__ import annotations

from typing import Any

from voip_stack import deployment
from voip_stack.master import client
from voip_stack.pillar import Pillar
from voip_stack.pillar.compile import proxies_of_hosts
from voip_stack.problem import Problem


def listed(pillar: Pillar) -> list[dict[str, Any]]:
    """Every ban: {host, proxy, source, reason, left_s}.

    reason: "flood" (too many requests) or "auth" (wrong passwords). Raises Problem when a minion
    does not answer.
    """
    return [
        {"host": host, "proxy": proxy} | row
        for host, proxy in proxies_of_hosts(pillar, deployment.read())
        for row in client.call(host, f"{proxy}.bans")
    ]


def lift(pillar: Pillar, sources: list[str]) -> list[dict[str, Any]]:
    """Let sources in again, at every proxy; [] for all. Returns the bans that were lifted.

    Raises Problem when a source is banned nowhere.
    """
    rows = listed(pillar)
    if unknown := sorted(set(sources) - {row["source"] for row in rows}):
        known = ", ".join(sorted({row["source"] for row in rows})) or "nobody"
        raise Problem(f"{', '.join(unknown)}: not banned", "./voip bans list", f"banned: {known}")
    wanted = [row for row in rows if not sources or row["source"] in sources]
    for row in wanted:
        client.call(row["host"], f"{row['proxy']}.unban", row["source"])
    return wanted
