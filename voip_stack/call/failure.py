"""How a test call fails: always at a named step, with the SIP answer when there was one."""

from __future__ import annotations

import re

SIP_ANSWER = re.compile(r"\b([3-6]\d\d)\b")


class CallError(Exception):
    """A call that could not be made or verified.

    step: the step that failed, as the progress names it. sip_code: the SIP status that said so,
    None when no SIP answer was the reason.
    """

    def __init__(self, step: str, reason: str, sip_code: int | None = None, ua: str | None = None):
        self.step = step
        self.reason = reason
        self.sip_code = sip_code
        self.ua = ua
        super().__init__(f"{step}: {reason}")


class UnsettledError(CallError):
    """Two hops that cannot both be right: something moved between two readings."""


def sip_code(text: str) -> int | None:
    """The SIP status in what baresip says about a failure ("404 Not Found"), None without one."""
    found = SIP_ANSWER.search(text)
    return int(found.group(1)) if found else None
