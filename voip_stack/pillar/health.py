"""How each service is asked whether it serves, and when and how it is repaired.

The probes themselves are _utils/voip_probe_*.py; here is where each finds its daemon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from voip_stack.pillar.components import PROXIES

if TYPE_CHECKING:
    from voip_stack.pillar.schema import Pillar

TLS = "/etc/voip-stack/tls"
LOCATION_LINK = "location-link"
CA_FILE = f"{TLS}/ca.crt"
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Probing(Model):
    interval_s: Annotated[float, Field(ge=0.5, le=300)] = 1.5
    timeout_s: Annotated[float, Field(ge=0.1, le=30)] = 1.0
    bad_in_a_row: Annotated[int, Field(ge=1, le=20)] = 2


class Flapping(Model):
    repairs: Annotated[int, Field(ge=1, le=100)] = 5
    window_s: Seconds = 600


class Repair(Model):
    """needs: {component: [components without which it cannot serve]}."""

    probe: Probing = Probing()
    repeat_s: Annotated[float, Field(ge=5, le=3600)] = 30
    flapping: Flapping = Flapping()
    pause_s: Seconds = 15
    wait_s: Annotated[float, Field(ge=5, le=600)] = 60
    needs: dict[str, list[str]] = {}


def probes(pillar: Pillar, host: str, components: list[str]) -> dict[str, list[dict[str, Any]]]:
    """{component: [probe, ...]} of what `host` itself runs; a probe is voip_probe.ask's arguments.

    components: those that could be had. An existing server elsewhere is its owner's to repair.
    """
    found = {
        name: PROBES[name](pillar, host)
        for name in components
        if name in PROBES and not pillar.is_external(name)
    }
    if set(components) & set(PROXIES) and _has_redis(pillar):
        # No component: the proxies' states bring it (salt/location).
        port = pillar.kamailio.location_port
        found[LOCATION_LINK] = [{"kind": "door", "address": "127.0.0.1", "port": port}]
    return found


def _has_redis(pillar: Pillar) -> bool:
    runs = any("redis" in pillar.components_of(name) for name in pillar.minions())
    return runs or pillar.is_external("redis")


def beacon(pillar: Pillar, host: str, components: list[str]) -> dict[str, Any] | None:
    """Settings of the beacon `voip_health`, None where nothing is probed."""
    found = probes(pillar, host, components)
    if not found:
        return None
    policy = pillar.repair
    return {
        "probes": found,
        **policy.probe.model_dump(),
        "repeat_s": policy.repeat_s,
        # A beat only reads what the prober has found out.
        "interval": 1,
    }


def dependencies(pillar: Pillar, host: str, component: str) -> list[tuple[str, str]]:
    """[(host, component)] that `component` on `host` needs: the host's own one where it has it."""
    found = []
    for name in pillar.repair.needs.get(component, []):
        hosts = [item for item in pillar.minions() if name in pillar.components_of(item)]
        found += [(item, name) for item in ([host] if host in hosts else hosts)]
    return found


def _listener(pillar: Pillar, host: str, component: str, name: str) -> dict[str, Any]:
    return {
        "address": str(pillar.hosts[host].internal),
        "port": pillar.services[component][name].ports[0],
    }


def _named(pillar: Pillar, host: str) -> dict[str, Any]:
    """Whose certificate a TLS probe wants to see."""
    return {"name": f"{host}.{pillar.site.domain}", "ca_file": CA_FILE}


def _sip(pillar: Pillar, host: str, component: str) -> dict[str, Any]:
    own = [f"{TLS}/{component}.crt", f"{TLS}/{component}.key"]
    return {
        "kind": "sip",
        **_listener(pillar, host, component, "sip-tls"),
        **_named(pillar, host),
        "domain": pillar.site.domain,
        "certificate": own,
    }


def _kamailio(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    return [_sip(pillar, host, "kamailio")]


def _opensips(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    return [_sip(pillar, host, "opensips")]


def _asterisk(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    ami = {
        "kind": "ami",
        **_listener(pillar, host, "asterisk", "ami"),
        **_named(pillar, host),
        "directory": "/etc/asterisk/voip",
    }
    return [_sip(pillar, host, "asterisk"), ami]


def _rtpengine(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    """A relay that is at another media host just now is not this one's to judge."""
    relay = pillar.hosts[host].relay
    listener = _listener(pillar, host, "rtpengine", "ng")
    if relay is None:
        return [{"kind": "ng", **listener}]
    return [{"kind": "ng", **listener, "address": str(relay.internal), "floats": True}]


def _openbao(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    listener = _listener(pillar, host, "openbao", "api")
    return [{"kind": "vault", **listener, **_named(pillar, host)}]


def _redis(pillar: Pillar, host: str, component: str = "redis") -> list[dict[str, Any]]:
    listener = _listener(pillar, host, component, "redis")
    return [{"kind": "redis", **listener, **_named(pillar, host), "user": "health"}]


def _callstore(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    return _redis(pillar, host, "callstore")


def _postgresql(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    port = pillar.services["postgresql"]["sql"].ports[0]
    return [_sql("/var/run/postgresql", port, "postgres", "postgres")]


def _pgbouncer(pillar: Pillar, host: str) -> list[dict[str, Any]]:
    """Through the pooler to the server: what its users need."""
    database, port = pillar.kamailio.database, pillar.pgbouncer.port
    return [
        _sql(database.socket_directory, port, database.user, name)
        for name in pillar.pgbouncer.databases
    ]


def _sql(directory: str, port: int, user: str, database: str) -> dict[str, Any]:
    return {
        "kind": "sql", "socket_directory": directory, "port": port,
        "user": user, "database": database,
    }  # fmt: skip


PROBES: dict[str, Callable[[Pillar, str], list[dict[str, Any]]]] = {
    "kamailio": _kamailio,
    "opensips": _opensips,
    "asterisk": _asterisk,
    "rtpengine": _rtpengine,
    "openbao": _openbao,
    "redis": _redis,
    "callstore": _callstore,
    "postgresql": _postgresql,
    "pgbouncer": _pgbouncer,
}
