"""A browser as a user agent: Chromium on the web phone's page, used as a person would use it.

It fills in the page's fields and presses its buttons. browser_page.js, put into the page for the
call, tells what happens and measures.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from voip_stack.call.agent import tcp_connections
from voip_stack.call.chromium import Inside, Start
from voip_stack.call.failure import CallError
from voip_stack.call.page import Page
from voip_stack.call.remote import Remote
from voip_stack.call.useragent import SAMPLE_BYTES, Settings, StreamState

SCRIPT = Path(__file__).with_name("browser_page.js")
BINDING = "tellVoip"
# Chromium names the suite by DTLS-SRTP (RFC 5764, RFC 7714), everybody else by SDES.
SUITES = {
    "SRTP_AES128_CM_HMAC_SHA1_80": "AES_CM_128_HMAC_SHA1_80",
    "SRTP_AES128_CM_HMAC_SHA1_32": "AES_CM_128_HMAC_SHA1_32",
    "SRTP_AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
    "SRTP_AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
}


class Browser:
    """One user agent. Close it at the end, or use it as a context manager."""

    def __init__(self, remote: Remote, ua: str, settings: Settings, page: str, inside: Inside):
        """page: the web phone's address. settings.proxy_port: where the page registers."""
        self.remote = remote
        self.ua = ua
        self.settings = settings
        self.page = Page(page, self._take, self._ended)
        self.inside = inside
        self._is_closing = False

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, ca_pem: str, names: Mapping[str, str]) -> None:
        own = {name: self._own_family(addresses) for name, addresses in names.items()}
        given = {"CODEC": self.settings.codec, "SUITES": SUITES}
        head = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items())
        start = Start(self.inside, ca_pem, own, self.settings.tone_hz)
        self.page.open(start, f"{{\n{head}{SCRIPT.read_text()}}}", BINDING)

    def close(self) -> None:
        """End a call that is up, sign out, end the browser."""
        self._is_closing = True
        with contextlib.suppress(CallError):
            self.page.run("window.phone?.signOut()")
        self.page.close()

    def register(self) -> None:
        self.page.fill(
            {
                "number": self.settings.number,
                "domain": self.settings.domain,
                "password": self.settings.password_secret,
                "proxy": self._proxy(),
            }
        )
        # The test's tone would be taken for noise.
        self.page.run("document.getElementById('processing').checked = false")
        self.page.press("sign-in")

    def dial(self, uri: str) -> str | None:
        self.page.fill({"target": uri.removeprefix("sip:").partition("@")[0]})
        self.page.press("call")
        return ""

    def accept(self) -> None:
        self.page.press("answer")

    def refuse(self) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        self.page.press("hang-up")

    def play(self) -> None:
        self.page.run("voip.play()")

    def quiet(self) -> None:
        self.page.run("voip.quiet()")

    def state(self) -> StreamState:
        found = self.page.run("voip.state()")
        return StreamState(
            codec_sent=found["codecSent"],
            codec_received=found["codecReceived"],
            sent=found["sent"],
            received=found["received"],
            is_secure=found["srtp"] is not None,
            port=found["port"],
            address=found["address"],
        )

    def descriptions(self) -> dict[str, str]:
        """{"local", "remote"}: the SDP of the call's two ends."""
        return self.page.run("voip.descriptions()")

    def recording(self) -> bytes:
        found = self.page.run("voip.recording()")
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(SAMPLE_BYTES)
            sound.setframerate(int(found["rate"]) or self.settings.sample_rate)
            sound.writeframes(base64.b64decode(found["data"]))
        return file.getvalue()

    def sockets(self) -> list[dict[str, str]]:
        """The TCP connections of all of Chromium's processes."""
        found: list[dict[str, str]] = []
        if self.page.pid is None:
            return found
        for process in psutil.Process(self.page.pid).children(recursive=True):
            with contextlib.suppress(OSError):  # it may have ended just now
                found += tcp_connections(process.pid)
        return found

    def _own_family(self, addresses: str) -> str:
        """Of a name's addresses the one by which this user agent comes."""
        is_wanted = [item for item in addresses.split() if (":" in item) is self.settings.is_ipv6]
        return is_wanted[0]

    def _proxy(self) -> str:
        """The page's own word for the proxy at our port. CallError when it offers none."""
        urls = self.page.run("[...document.getElementById('proxy').options].map((it) => it.value)")
        for url in urls:
            if url.endswith(f":{self.settings.proxy_port}"):
                return str(url)
        raise CallError("", f"{self.page.url} offers no proxy at port {self.settings.proxy_port}")

    def _take(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.bindingCalled" and params.get("name") == BINDING:
            told = json.loads(params["payload"])
            # When it happened, not when a busy machine tells it; its clock is this machine's.
            ago_s = time.time() - told.pop("at") / 1000
            self.remote.tell(self.ua, told.pop("kind"), told, ago_s)
        elif method == "Runtime.exceptionThrown":
            details = params.get("exceptionDetails", {})
            text = details.get("exception", {}).get("description") or details.get("text", "")
            self.remote.tell(self.ua, "LOG", {"param": text})

    def _ended(self) -> None:
        if not self._is_closing:
            self.remote.tell(self.ua, "ENDED", {"param": "the browser's pipe closed"})
