"""The vendor's own kamailio.cfg in the place of the platform's, for the length of a measurement.

The same unit runs it: its user, confinement, ports, certificates, database and peers are the
platform's. What differs from the file as the vendor ships it is here, and nowhere else: the
switches that its own comments name, and `edits`. A drop-in below /run has the unit take it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from voip_stack import paths
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider
from voip_stack.repair import hosts

sys.path.append(str(paths.CHECKOUT / "_utils"))

import voip_kamailio
import voip_proxy

COMPONENT = "kamailio"
VENDORS = "/etc/kamailio/kamailio.cfg"
DIRECTORY = "/run/voip-bench-stock"
SWITCHES = ("WITH_MYSQL", "WITH_AUTH", "WITH_IPAUTH", "WITH_USRLOCDB", "WITH_TLS", "WITH_NAT",
            "WITH_RTPENGINE", "WITH_PSTN")  # fmt: skip
READY_S = 60.0
# The platform's own file comes back after so long, whatever became of the bench.
LIMIT_S = 300
# Its unit's command as the vendor has it, but for the sizes of memory, which stay the platform's:
# of the vendor's 64 MiB less than 13 are free after 10 s at 70 calls/s, and then its TLS module
# takes no connections any more (low_mem_threshold1).
UNIT = f"""\
[Service]
Environment=CFGFILE={DIRECTORY}/kamailio.cfg
ExecStart=
ExecStart=/usr/sbin/kamailio -P /run/kamailio/kamailio.pid -f $CFGFILE -m $SHM_MEMORY \
-M $PKG_MEMORY --atexit=no
"""
RESTORE = f"rm -f {{dropin}} && rm -rf {DIRECTORY} && systemctl daemon-reload && \
systemctl restart {{unit}}"
TIMER = "voip-bench-stock"


def edits(voip: Mapping[str, Any], called: str) -> list[tuple[str, str]]:
    """[(the vendor's text, what stands in its place)].

    voip: the proxy's compiled pillar. called: regular expression of the numbers that are called.
    The database is PostgreSQL and has digests, no passwords; certificates and peers are those of
    the platform's files; the gateway of route PSTN is the PBX, which calls back.
    """
    folder = voip_kamailio.CONFIG_DIR
    pbx = voip["peers"]["pbx"][0]
    port = voip["ports"]["asterisk"]["sip-tls"]
    relays = " ".join(voip_kamailio.media_relay_url(voip, one["name"]) for one in voip["relays"])
    column = voip_proxy.HA1_COLUMNS[voip["routing"]["digest_algorithm"]]
    return [
        ('loadmodule "db_mysql.so"', 'loadmodule "db_postgres.so"'),
        ('"calculate_ha1", yes', '"calculate_ha1", 0'),
        ('"password_column", "password"', f'"password_column", "{column}"'),
        ('"config", "/etc/kamailio/tls.cfg"', f'"config", "{folder}/tls.cfg"'),
        ('"permissions", "db_url", DBURL',
         f'"permissions", "address_file", "{folder}/address.list"'),
        ("udp:127.0.0.1:2223", relays),
        ('pstn.gw_ip = ""', f'pstn.gw_ip = "{pbx}"'),
        ('pstn.gw_port = ""', f'pstn.gw_port = "{port};transport=tls"'),
        ('if(!($rU=~"^(\\+|00)[1-9][0-9]{3,20}$")) return;',
         f'if(src_ip=={pbx} || !($rU=~"{called}")) return;'),
    ]  # fmt: skip


def local(voip: Mapping[str, Any]) -> str:
    """kamailio-local.cfg, which the vendor's file reads first: switches, database, listeners."""
    own, ports = voip["self"]["addresses"], voip["ports"]["kamailio"]
    database = voip["kamailio"]["database"]
    lines = [f"#!define {name}" for name in SWITCHES]
    lines += [
        f'#!define DBURL "postgres://{database["user"]}@/{database["name"]}"',
        "auto_aliases=no",
        f"alias={voip['site']['domain']}",
        *(
            f"listen=tls:{own[side]}:{ports[name]}"
            for side in ("internal", "external")
            # tls.cfg has a section for each, which wants its listener.
            for name in ("sip-tls", "wss")
        ),
        f"listen=udp:{own['external']}:{ports['sip-udp']}",
    ]
    return "\n".join(lines) + "\n"


def configuration(
    vendors: str, voip: Mapping[str, Any], called: str, write_back_s: int | None = None
) -> str:
    """The vendor's file with `edits`. write_back_s: how often it writes what changed of
    registrations, where that is not the vendor's minute. Problem where it is not the file that they
    are for."""
    changes = edits(voip, called)
    if write_back_s is not None:
        name = '"usrloc", "timer_interval"'
        changes.append((f"{name}, 60", f"{name}, {write_back_s}"))
    for old, new in changes:
        if vendors.count(old) != 1:
            raise Problem(f"{old!r} is {vendors.count(old)} times in it, once expected", VENDORS)
        vendors = vendors.replace(old, new)
    return vendors


def install(
    provider: Provider,
    host: str,
    voip: Mapping[str, Any],
    called: str,
    write_back_s: int | None = None,
) -> None:
    """Write both files into DIRECTORY of `host`; nothing reads them yet. Problem as above."""
    vendors = provider.get(host, VENDORS).decode()
    provider.run(host, ["install", "-d", "-m", "755", DIRECTORY])
    for name, text in (
        ("kamailio.cfg", configuration(vendors, voip, called, write_back_s)),
        ("kamailio-local.cfg", local(voip)),
    ):
        provider.put(host, f"{DIRECTORY}/{name}", text.encode())


@contextlib.contextmanager
def serving(
    provider: Provider,
    host: str,
    voip: Mapping[str, Any],
    called: str,
    write_back_s: int | None = None,
) -> Iterator[None]:
    """The vendor's configuration serves; afterwards, however it comes, the platform's does."""
    unit = hosts.unit(host, COMPONENT)
    dropin = f"/run/systemd/system/{unit}.d/zz-voip-bench.conf"
    restore = RESTORE.format(dropin=dropin, unit=unit)
    try:
        install(provider, host, voip, called, write_back_s)
        provider.put(host, dropin, UNIT.encode())
        timer = ["systemd-run", f"--on-active={LIMIT_S}", f"--unit={TIMER}"]
        provider.run(host, [*timer, "sh", "-c", restore])
        _restart(provider, host, unit)
        yield
    finally:
        provider.run(host, ["systemctl", "stop", f"{TIMER}.timer"], check=False)
        provider.run(host, ["sh", "-c", restore])
        hosts.answers(host, COMPONENT, READY_S)


def _restart(provider: Provider, host: str, unit: str) -> None:
    provider.run(host, ["systemctl", "daemon-reload"])
    done = provider.run(host, ["systemctl", "restart", unit], check=False)
    if done.returncode:
        argv = ["journalctl", "-u", unit, "-n", "20", "-o", "cat", "--no-pager"]
        said = provider.run(host, argv).stdout.decode(errors="replace")
        reasons = "; ".join(voip_kamailio.check_errors(said)) or said[-500:]
        raise Problem(f"Kamailio does not start by the vendor's configuration: {reasons}", host)
