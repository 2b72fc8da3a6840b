"""Calls from this very machine, for providers without a guest that stands for the outside."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import sys
from collections.abc import Callable, Sequence

from voip_stack.call.plan import Host, Plan
from voip_stack.problem import Problem


def from_here(plan: Plan) -> tuple[Plan, Callable[[str, Sequence[str]], list[str]]]:
    """The plan with this machine as the outside, and how a command is run there: as it is.

    Raises Problem when this machine cannot hold the user agents.
    """
    if sys.platform != "linux" or shutil.which("baresip") is None:
        raise Problem(
            "The user agents of a call need Linux with baresip",
            f"this machine ({sys.platform})",
            "apt-get install baresip-core, or make the call in the lab on a Linux machine",
            3,
        )
    proxy = plan.proxy.external or plan.proxy.internal
    if proxy is None:
        raise Problem(f"{plan.proxy.name} has no address", "pillar/topology.yaml")
    own_ipv6 = None
    if plan.by_ipv6:
        own_ipv6 = _own_address(socket.AF_INET6, str(plan.proxy.external_ipv6), plan.proxy_port)
    here = Host(
        "this machine", None, _own_address(socket.AF_INET, proxy, plan.proxy_port), own_ipv6
    )
    return dataclasses.replace(plan, outside=here), lambda _host, argv: list(argv)


def _own_address(family: socket.AddressFamily, proxy: str, port: int) -> str:
    """The address by which this machine reaches the proxy. Raises Problem when it does not."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing: it only asks the kernel for its address.
            probe.connect((proxy, port))
        except OSError as err:
            raise Problem(
                f"This machine has no way to {proxy}: {err}", "pillar/topology.yaml", code=3
            ) from err
        return str(probe.getsockname()[0])
