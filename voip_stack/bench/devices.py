"""The devices of a bench: agents.py running in the lab's outside guest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from voip_stack import outside, paths
from voip_stack.malformed.wire import Target
from voip_stack.outside import Conversation
from voip_stack.pillar import Pillar
from voip_stack.providers.base import Provider

DIRECTORY = "/run/voip-bench-devices"
MODULES = ("bench.agents", "malformed.wire")


@contextmanager
def running(
    pillar: Pillar,
    provider: Provider,
    host: str,
    *,
    proxy: str = "kamailio",
    sources: list[str],
    users: list[list[str]],
    links: int,
    limit_s: float,
) -> Iterator[Conversation]:
    """Devices that live as long as the block, and do what agents.py says.

    host: that of the proxy, a component. The rest as agents.Order.
    """
    guest = next(name for name, item in pillar.hosts.items() if not item.is_minion)
    target = Target(
        address=str(pillar.hosts[host].external),
        ports={"tls": pillar.services[proxy]["sip-tls"].ports[0]},
        server_name=pillar.site.proxy_name,
        domain=pillar.site.domain,
        ca=paths.ca_file().read_text(),
    )
    order = {
        "target": asdict(target),
        "sources": sources,
        "users": users,
        "links": links,
        "limit_s": limit_s,
    }
    with ExitStack() as stack:
        stack.enter_context(outside.addresses(pillar, provider, guest, sources))
        argv = stack.enter_context(outside.program(provider, guest, DIRECTORY, MODULES))
        talk = stack.enter_context(Conversation(provider.command(guest, argv), guest))
        talk.tell(json.dumps(order))
        yield talk
