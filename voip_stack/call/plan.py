"""Who calls whom by which way: taken from the pillar, so that nothing is typed twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voip_stack import deployment
from voip_stack.pillar.compile import proxies
from voip_stack.pillar.schema import Pillar
from voip_stack.problem import Problem

# Two tones on 50 Hz bins whose harmonics do not meet, both inside every codec's band.
CALLER_TONE_HZ = 600
CALLEE_TONE_HZ = 1000
CALLER_RTP = (20000, 20198)
CALLEE_RTP = (20200, 20398)
# The codecs that the user agents have; the routing policy says which of them the platform takes.
KNOWN_CODECS = ("PCMA", "PCMU", "G722")


@dataclass(frozen=True)
class Host:
    name: str
    internal: str | None
    external: str | None
    external_ipv6: str | None = None


@dataclass(frozen=True)
class Plan:
    """One call: the numbers, the codec, and the hosts and ports that it goes through.

    daemon: the proxy that both register at, `kamailio` or `opensips`. by_ipv6: the numbers whose
    user agent reaches the proxy by IPv6. browsers: those whose user agent is a browser, which comes
    to the proxy at wss_port.
    """

    caller: str
    callee: str
    codec: str
    domain: str
    proxy: Host
    proxy_name: str
    proxy_port: int
    pbx: Host
    pbx_port: int
    media: tuple[Host, ...]
    outside: Host
    is_echo: bool
    is_callee_known: bool
    daemon: str = "kamailio"
    by_ipv6: frozenset[str] = frozenset()
    browsers: frozenset[str] = frozenset()
    wss_port: int = 0
    page_port: int | None = None

    @property
    def page(self) -> str:
        """The web phone's address. Raises Problem when no proxy's host serves it."""
        if self.page_port is None:
            raise Problem(
                "no host of the proxy serves the web phone",
                "pillar/topology.yaml: roles",
                "give the role sip the component webphone, then ./voip up",
            )
        return f"https://{self.proxy_name}:{self.page_port}/"

    @property
    def outside_address(self) -> str:
        return self.outside.external or self.outside.internal or "127.0.0.1"

    @property
    def names(self) -> dict[str, str]:
        """The proxy's name, with the addresses that a name server would tell."""
        addresses = (self.proxy.external, self.proxy.external_ipv6)
        return {self.proxy_name: " ".join(item for item in addresses if item)}

    def address_of(self, number: str) -> str:
        """Where the user agent of a number is."""
        if number in self.by_ipv6 and self.outside.external_ipv6 is not None:
            return self.outside.external_ipv6
        return self.outside_address

    def proxy_for(self, number: str) -> str:
        """The proxy's end, "address:port", of the connection of a number's user agent."""
        port = self.port_for(number)
        if number in self.by_ipv6:
            return f"[{self.proxy.external_ipv6}]:{port}"
        return f"{self.proxy.external}:{port}"

    def port_for(self, number: str) -> int:
        """The proxy's port that a number's user agent connects to."""
        return self.wss_port if number in self.browsers else self.proxy_port


def make_plan(
    pillar: Pillar,
    caller: str,
    callee: str,
    codec: str | None = None,
    by_ipv6: Iterable[str] = (),
    browsers: Iterable[str] = (),
    proxy: str = "kamailio",
) -> Plan:
    """Raises Problem when the pillar has no such caller, or not all that the call needs.

    proxy: the component at whose ports the user agents come.
    """
    numbers = [item.number for item in pillar.subscribers]
    if caller not in numbers:
        raise Problem(
            f"{caller} is not a subscriber, so it cannot call",
            "pillar/subscribers/",
            f"call from one of: {', '.join(numbers[:10])}",
            2,
        )
    if caller == callee:
        raise Problem(f"{caller} cannot call itself", how="give two different numbers", code=2)
    codec = (codec or pillar.routing.codecs[0]).upper()
    allowed = [name for name in pillar.routing.codecs if name in KNOWN_CODECS]
    if codec not in allowed:
        raise Problem(
            f"codec {codec}: one of {', '.join(allowed)} expected", "pillar: routing.codecs", code=2
        )
    host, outside = _host(pillar, "sip"), _host(pillar, "client")
    running = proxies(pillar, deployment.read())
    if proxy not in running:
        raise Problem(
            f"{host.name} has no proxy {proxy}",
            "pillar/topology.yaml: roles.sip, and ./voip status: unavailable",
            f"one of: {', '.join(running)}",
            2,
        )
    if by_ipv6 and None in (host.external_ipv6, outside.external_ipv6):
        raise Problem(
            f"no call by IPv6: {host.name} and {outside.name} need an address of it",
            "pillar/topology.yaml: external_ipv6",
            code=2,
        )
    return Plan(
        caller=caller,
        callee=callee,
        codec=codec,
        domain=pillar.site.domain,
        proxy=host,
        proxy_name=pillar.site.proxy_name,
        proxy_port=pillar.services[proxy]["sip-tls"].ports[0],
        pbx=_host(pillar, "pbx"),
        pbx_port=pillar.services["asterisk"]["sip-tls"].ports[0],
        media=tuple(_hosts(pillar, "media")),
        outside=outside,
        is_echo=callee == pillar.routing.echo_extension,
        is_callee_known=callee in numbers,
        daemon=proxy,
        by_ipv6=frozenset(by_ipv6),
        browsers=frozenset(browsers),
        wss_port=pillar.services[proxy]["wss"].ports[0],
        page_port=_page_port(pillar, host.name),
    )


def _page_port(pillar: Pillar, host: str) -> int | None:
    if "webphone" not in pillar.components_of(host):
        return None
    return pillar.services["webphone"]["https"].ports[0]


def _host(pillar: Pillar, role: str) -> Host:
    return _hosts(pillar, role)[0]


def _hosts(pillar: Pillar, role: str) -> list[Host]:
    found = [
        Host(
            name,
            str(host.internal) if host.internal else None,
            str(host.external) if host.external else None,
            str(host.external_ipv6) if host.external_ipv6 else None,
        )
        for name, host in pillar.hosts.items()
        if role in host.roles
    ]
    if not found:
        raise Problem(f"no host has the role {role}, which a call needs", "pillar/topology.yaml")
    return found
