"""SIP scenarios as data: read from the files beside this one, and what each says to a proxy.

README.md tells what may be written. `python -m tests.lab.scenarios` writes docs/conformance.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

DIRECTORY = Path(__file__).parent
DOCUMENT = DIRECTORY.parents[2] / "docs" / "conformance.md"
_MARK = "| topic | scenario | expected of both |\n| --- | --- | --- |\n"
TOPICS = (
    "cleartext", "registration", "hygiene", "calls", "dialogs",
    "devices", "ringing", "established", "transfer", "patience",
)  # fmt: skip
Kind = Literal["request", "register", "call", "in_dialog", "malformed", "ladder"]
KINDS: tuple[Kind, ...] = ("request", "register", "call", "in_dialog", "malformed", "ladder")

_SDP = (
    "v=0\r\no=- 1 1 IN IP4 {client}\r\ns=-\r\nc=IN IP4 {client}\r\nt=0 0\r\n"
    "m=audio 40000 PROFILE 8\r\na=rtpmap:8 PCMA/8000\r\n"
)
_KEY = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40


def _sdp(profile: str, key: str = "") -> str:
    return _SDP.replace("PROFILE", profile) + (key and f"{key}\r\n")


# What `body` may name.
BODIES = {
    "srtp": _sdp("RTP/SAVP", _KEY),
    "rtp": _sdp("RTP/AVP"),
    "rtp with a key": _sdp("RTP/AVP", _KEY),
    "rtp with feedback": _sdp("RTP/AVPF"),
    "udptl": _sdp("udptl"),
    "srtp without a cipher": _sdp("RTP/SAVP", _KEY.replace("AES_CM_128", "NULL")),
    "srtp unencrypted": _sdp("RTP/SAVP", f"{_KEY} UNENCRYPTED_SRTP"),
    "parts": "--x\r\n\r\n" + _sdp("RTP/AVP") + "--x--",
}
UNANSWERED_S = 2


class Scenario(BaseModel):
    """One thing said to a proxy and what must come of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    name: str
    request: dict[str, Any] | None = None
    # A class of the model's kind has a method of this name.
    register_: dict[str, Any] | None = Field(None, alias="register")
    call: dict[str, Any] | None = None
    in_dialog: dict[str, Any] | None = None
    malformed: dict[str, Any] | None = None
    # What devices say to each other by way of the platform, one after the other.
    devices: dict[str, str | dict[str, str]] = {}
    ladder: list[dict[str, Any]] | None = None
    expected: str | int | None = None
    answers: list[int | str] = []
    unanswered: bool = False
    refused: bool = False
    warning: str | None = None
    counts: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Scenario:
        if sum(value is not None for value in self._sent().values()) != 1:
            raise ValueError(f"{self.name}: one of {', '.join(KINDS)} expected")
        told = (self.answers, self.unanswered, self.refused, self.expected)
        if sum(map(bool, told)) != 1 or bool(self.expected) != (self.ladder is not None):
            raise ValueError(
                f"{self.name}: one of answers, unanswered, refused, or `expected` of a ladder"
            )
        for step in self.ladder or ():
            if len(step.keys() & self.devices.keys()) != 1:
                raise ValueError(f"{self.name}: one of {', '.join(self.devices)} expected: {step}")
        return self

    def steps(self) -> list[dict[str, Any]]:
        """The ladder as tests/lab/sip_ladder.py takes it: [{"device", "does", ...}]."""
        found = []
        for step in self.ladder or ():
            (device,) = step.keys() & self.devices.keys()
            rest = {key: value for key, value in step.items() if key != device}
            found.append({"device": device, "does": step[device], **rest})
        return found

    def _sent(self) -> dict[Kind, Any]:
        return {
            "request": self.request,
            "register": self.register_,
            "call": self.call,
            "in_dialog": self.in_dialog,
            "malformed": self.malformed,
            "ladder": self.ladder,
        }

    def order(self, known: Mapping[str, str], passwords: Mapping[str, str]) -> dict[str, Any]:
        """What the probe (tests/lab/sip_probe.py) is told: {"what": ..., its parameters}.

        known: what `{word}` stands for.
        """
        kind, given = next((k, v) for k, v in self._sent().items() if v is not None)
        order = {"what": kind, **given}
        if "body" in order:
            order["body"] = BODIES[order["body"]]
        if kind in ("register", "call"):
            order |= {"user": order.get("user", "1001")}
            order.setdefault("password", passwords.get(order["user"], ""))
        if kind == "in_dialog":
            order.setdefault("route", "sip:{proxy}:{port};transport=tls;lr")
            if order.pop("registered", False):
                order["password"] = passwords["1001"]
        if self.unanswered or kind == "malformed":
            order["timeout_s"] = UNANSWERED_S
        return _filled(order, known)

    @property
    def expectation(self) -> str:
        """For people."""
        if self.expected:
            return str(self.expected)
        if self.unanswered:
            return "no answer"
        return "refused" if self.refused else ", then ".join(map(str, self.answers))


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """The same with each {word} replaced by what is known of it."""
    if isinstance(value, str):
        for word, text in known.items():
            value = value.replace(f"{{{word}}}", text)
    elif isinstance(value, list):
        value = [_filled(item, known) for item in value]
    elif isinstance(value, dict):
        value = {key: _filled(item, known) for key, item in value.items()}
    return value


def problem(scenario: Scenario, found: Mapping[str, Any]) -> str | None:
    """What is wrong with the probe's report, None when it is as expected."""
    if scenario.ladder is not None:
        return found["failed"]
    statuses = found.get("statuses") or ([found["status"]] if found.get("status") else [])
    if scenario.unanswered:
        return None if found.get("failed") == "TimeoutError" else f"answered: {found}"
    if scenario.refused:
        is_right = "end" in found or any(400 <= code < 600 for code, _ in statuses)
        return None if is_right else f"4xx, 5xx or the connection's end expected: {found}"
    if len(statuses) != len(scenario.answers):
        return f"{scenario.expectation} expected: {statuses or found}"
    for wanted, (code, phrase) in zip(scenario.answers, statuses, strict=True):
        if str(wanted) not in (str(code), f"{code} {phrase}", f"{code // 100}xx"):
            return f"{scenario.expectation} expected: {statuses}"
    if scenario.warning and scenario.warning not in (found.get("warning") or ""):
        return f"Warning with {scenario.warning!r} expected: {found.get('warning')}"
    return None


def read() -> Iterator[Scenario]:
    """Every scenario, by topic. Raises ValueError for one that is not as README.md tells."""
    for topic in TOPICS:
        for item in yaml.safe_load((DIRECTORY / f"{topic}.yaml").read_text()):
            yield Scenario(topic=topic, **item)


def rendered(document: str) -> str:
    """The document with its table, which is its end, as the scenarios are."""
    head, _, _ = document.partition(_MARK)
    rows = [f"| {item.topic} | {item.name} | {item.expectation} |" for item in read()]
    return head + _MARK + "\n".join(rows) + "\n"
