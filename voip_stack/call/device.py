"""What a call needs of a user agent, and how baresip gives it.

What happens at a device it tells as events to Remote, in the words of baresip: REGISTER_OK,
REGISTER_FAIL, CALL_LOCAL_SDP, CALL_INCOMING, CALL_RINGING, CALL_ESTABLISHED, CALL_MENC,
CALL_RTPESTAB, CALL_CLOSED, ENDED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from voip_stack.call.remote import Remote
from voip_stack.call.useragent import QUIET, RECORDING, Settings, StreamState, parse_audio_debug


class Device(Protocol):
    """One user agent. Each order raises CallError when it is refused."""

    def open(self, ca_pem: str, names: Mapping[str, str]) -> None:
        """Start it. names: {name: its addresses, with spaces between}, all that its DNS knows."""

    def register(self) -> None: ...

    def dial(self, uri: str) -> str | None:
        """The Call-ID, "" where it is known when the call is answered, None for no call."""

    def accept(self) -> None: ...

    def refuse(self) -> None:
        """Answer an incoming call with 486."""

    def hang_up(self) -> None: ...

    def play(self) -> None:
        """Send the tone from now on."""

    def quiet(self) -> None:
        """Send nothing from now on."""

    def state(self) -> StreamState: ...

    def recording(self) -> bytes:
        """What it heard, as a WAV file."""

    def sockets(self) -> list[dict[str, str]]:
        """Its TCP connections: {"local", "remote"}, each "address:port"."""


class Baresip:
    """A baresip at the outside, driven through the agent there."""

    def __init__(self, remote: Remote, ua: str, settings: Settings):
        self.remote = remote
        self.ua = ua
        self.settings = settings

    def open(self, ca_pem: str, names: Mapping[str, str]) -> None:
        files = {"ca.crt": ca_pem}
        config = self.settings.config()
        self.remote.open(self.ua, config, files, dict(names), self.settings.is_ipv6)

    def register(self) -> None:
        self.remote.command(self.ua, "uanew", self.settings.account(), quiet=True)

    def dial(self, uri: str) -> str | None:
        answer = self.remote.command(self.ua, "dial", uri)
        # With ICE the call is placed, and gets its id, once the candidates are gathered.
        _, is_placed, call_id = answer.partition("call id:")
        return call_id.strip() if is_placed else None

    def accept(self) -> None:
        self.remote.command(self.ua, "accept")

    def refuse(self) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        self.remote.command(self.ua, "hangup")

    def play(self) -> None:
        self.remote.command(self.ua, "ausrc", self.settings.tone())

    def quiet(self) -> None:
        self.remote.command(self.ua, "ausrc", QUIET)

    def state(self) -> StreamState:
        return parse_audio_debug(self.remote.command(self.ua, "audio_debug"))

    def recording(self) -> bytes:
        return self.remote.read(self.ua, RECORDING)

    def sockets(self) -> list[dict[str, str]]:
        return self.remote.sockets(self.ua)
