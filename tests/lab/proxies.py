"""The two proxies of sip-1 as tests need them: one policy, so one set of assertions.

A test that takes `proxy` runs once for each that the topology has. What is each one's own, the
names of its files and how it is made to lose its peers, is here and nowhere else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from voip_stack.problem import Problem

Salt = Callable[..., Any]


@dataclass(frozen=True)
class Proxy:
    """name: of component, Salt module and unit. locations: its table of contacts.

    directory: its configuration. edited: a file there that somebody may have edited, and what reads
    it again. line: how its parser names a line of a file. socket: its control socket.
    """

    name: str
    locations: str
    directory: str
    edited: tuple[str, str]
    line: str
    socket: str

    @contextlib.contextmanager
    def without_pbx(self, salt: Salt) -> Iterator[None]:
        """Meanwhile it knows no PBX that works."""
        (pbx,) = salt("sip-1", f"{self.name}.dispatchers")
        self._set_pbx(salt, pbx["uri"], is_up=False)
        try:
            yield
        finally:
            self._set_pbx(salt, pbx["uri"], is_up=True)

    def _set_pbx(self, salt: Salt, uri: str, is_up: bool) -> None:
        if self.name == "kamailio":
            state = "ap" if is_up else "d"
            salt("sip-1", "kamailio.rpc", "dispatcher.set_state", state, 1, uri)
        else:
            about = {"state": "a" if is_up else "i", "group": "1", "address": uri}
            salt("sip-1", "opensips.mi", "ds_set_state", **about)

    def forget_subscribers(self, salt: Salt) -> None:
        """It asks the database for each again."""
        salt("sip-1", f"{self.name}.forget_subscribers")

    @contextlib.contextmanager
    def without_relays(self, salt: Salt) -> Iterator[None]:
        """Meanwhile it knows no media relay that works."""
        self._set_relays(salt, is_up=False)
        try:
            yield
        finally:
            self._set_relays(salt, is_up=True)

    def _set_relays(self, salt: Salt, is_up: bool) -> None:
        if self.name == "kamailio":
            salt("sip-1", "kamailio.rpc", "rtpengine.enable", "all", int(is_up))
            return
        for relay in salt("sip-1", "opensips.media_relays"):
            salt("sip-1", "opensips.mi", "rtpengine_enable", url=relay["url"], enable=int(is_up))

    def forget_calls(self, salt: Salt, number: str) -> None:
        """How many calls a subscriber has begun within the minute."""
        if self.name == "kamailio":
            with contextlib.suppress(Problem):  # who has begun none is not in there
                salt("sip-1", "kamailio.rpc", "htable.delete", "callrate", number)
        else:
            salt("sip-1", "opensips.mi", "cache_remove", system="local:callrate", attr=number)


KAMAILIO = Proxy(
    name="kamailio",
    locations="location",
    directory="/etc/kamailio/voip",
    edited=("dispatcher.list", "dispatcher.reload"),
    line=r"routes/media\.cfg, line \d+",
    socket="/run/kamailio/rpc.sock",
)
OPENSIPS = Proxy(
    name="opensips",
    locations="location_opensips",
    directory="/etc/opensips/voip",
    edited=("tables/dispatcher", "ds_reload"),
    line=r"routes/media\.cfg:\d+",
    socket="/run/opensips/mi.sock",
)
PROXIES = (KAMAILIO, OPENSIPS)
