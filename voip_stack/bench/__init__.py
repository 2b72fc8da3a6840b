"""Benches: one module each, registered by name; every report has the same shape."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path

from voip_stack.bench.report import Report, table
from voip_stack.problem import Problem

# Name -> (module, what it measures). A module has run(rounds: int) -> list[Result] and ROUNDS.
BENCHES = {
    "up": ("voip_stack.bench.up", "a fresh copy of this checkout: up, up again, destroy"),
    "up-cold": ("voip_stack.bench.up_cold", "the same with an empty cache"),
    "repair": ("voip_stack.bench.repair", "how long a killed or hanging service is away"),
    "reloads": (
        "voip_stack.bench.reloads",
        "certificates of the SIP daemons replaced under TLS clients",
    ),
    "renewal": ("voip_stack.bench.renewal", "from a certificate's event to the new one served"),
    "media-kernel": (
        "voip_stack.bench.media_kernel",
        "CPU for a forwarded packet, user space and kernel, under qemu",
    ),
    "media": (
        "voip_stack.bench.media",
        "SRTP streams, ours and upstream's defaults, under qemu: CPU, loss, jitter at each level",
    ),
    "subscribers": (
        "voip_stack.bench.subscribers",
        "100,000 subscribers: loaded, left alone, one added and registered",
    ),
    "registrations": (
        "voip_stack.bench.registrations",
        "100,000 contacts at once, 5,000 TLS connections, a restart of the proxy",
    ),
    "sip": (
        "voip_stack.bench.sip",
        "registrations and calls by sipp, beside the vendor's own kamailio.cfg",
    ),
    "salt": (
        "voip_stack.bench.salt",
        "state.apply beside Ansible's for one host, a profile, a master with 500 minions",
    ),
    "apply": ("voip_stack.bench.apply", "state.apply on all hosts when nothing is to do"),
}

__all__ = ["Report", "run", "table", "titles"]


def titles() -> dict[str, str]:
    return {name: title for name, (_, title) in BENCHES.items()}


def run(name: str, rounds: int | None = None, **more: str | int | Path | None) -> Report:
    """Run one bench. more: its own options. Problem for a name or an option that is none."""
    if name not in BENCHES:
        raise Problem(f"There is no bench {name}", "", f"one of {', '.join(BENCHES)}", code=2)
    module = import_module(BENCHES[name][0])
    count = rounds or module.ROUNDS
    given = {option: value for option, value in more.items() if value is not None}
    if unknown := set(given) - set(signature(module.run).parameters):
        raise Problem(f"bench {name} has no option --{unknown.pop()}", "", "./voip bench", code=2)
    return Report(name, count, module.run(count, **given))
