"""Ladders of tests/lab/scenarios, played by tests/lab/sip_ladder.py in client-1."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOM = "/run"
DEADLINE_S = 150


class Ladders:
    """Where ladders are played: at one proxy, or with some devices at another one.

    provider: of the lab. link: link(proxy, transport) -> how sip_probe gets there. passwords: by
    number. relays: the addresses that media may have.
    """

    def __init__(
        self,
        provider: Any,
        link: Callable[[str, str], dict[str, Any]],
        passwords: Mapping[str, str],
        relays: list[str],
        domain: str,
    ):
        self.provider, self.link, self.passwords = provider, link, passwords
        self.relays, self.domain = relays, domain

    def play(
        self,
        devices: Mapping[str, str | Mapping[str, str]],
        steps: list[dict[str, Any]],
        proxy: str,
    ) -> dict[str, Any]:
        """{"failed": None, or where and why}. devices: a number, or {number, transport, proxy}."""
        order = {
            "domain": self.domain,
            "relays": self.relays,
            "devices": {name: self._device(given, proxy) for name, given in devices.items()},
            "steps": steps,
        }
        # Each time: the guest may have been started anew.
        for name in ("sip_probe.py", "sip_ladder.py"):
            self.provider.put("client-1", f"{ROOM}/{name}", (HERE / name).read_bytes())
        argv = ["python3", f"{ROOM}/sip_ladder.py"]
        done = self.provider.run(
            "client-1", argv, stdin=json.dumps(order).encode(), timeout=DEADLINE_S
        )
        return json.loads(done.stdout)

    def _device(self, given: str | Mapping[str, str], proxy: str) -> dict[str, Any]:
        wanted = {"number": given} if isinstance(given, str) else given
        where = self.link(wanted.get("proxy", proxy), wanted.get("transport", "tls"))
        number = wanted["number"]
        return {"number": number, "password": self.passwords[number], "link": where}
