"""What the master does when a proxy has shut a source out: a security event for each."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network
from typing import Annotated, Literal

from pydantic import Field

from voip_stack import paths
from voip_stack.events import security
from voip_stack.events.handlers import Data
from voip_stack.pillar import current
from voip_stack.pillar.components import PROXIES

KIND = "source/banned"
# Why, in words; the proxies' own words are the keys.
REASONS = {"auth": "it guessed passwords", "flood": "it flooded"}


class Ban(Data):
    """As `<proxy>.bans` tells it: a source is an IPv4 address or an IPv6 network of 64 bits."""

    source: Annotated[str, Field(pattern=r"^[0-9a-f.:/]{7,43}$")]
    reason: Literal["auth", "flood"]
    left_s: Annotated[int, Field(ge=0, le=10_000_000)]


class Banned(Data):
    """more: sources beyond those that are named."""

    proxy: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]
    bans: Annotated[list[Ban], Field(min_length=1, max_length=20)]
    more: Annotated[int, Field(ge=0)]


def banned(host: str, data: Banned) -> None:
    """Record each. Of a proxy that the host does not run, only that it spoke of one."""
    own = set(PROXIES) & set(current(paths.pillar_dir()).components_of(host))
    if data.proxy not in own:
        security.not_its_own(KIND, host, "the host runs no such proxy")
        return
    for ban in data.bans:
        detail = f"{data.proxy} shut {_written(ban.source)} out for {ban.left_s} s more"
        security.report(KIND, host, f"{detail}: {REASONS[ban.reason]}")
    if data.more:
        security.report(KIND, host, f"{data.proxy} shut {data.more} more out: ./voip bans list")


def _written(source: str) -> str:
    """The source as an address; what is none is not repeated."""
    try:
        return str(IPv6Network(source) if ":" in source else IPv4Address(source))
    except ValueError:
        return "a source that is no address"
