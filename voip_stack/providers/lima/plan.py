"""What limactl says, parsed, and what to tell it, planned. Pure functions: no process is run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voip_stack.pillar import Pillar
from voip_stack.problem import Problem

MINIMUM_VERSION = (2, 0, 0)
RUNNING, STOPPED = "Running", "Stopped"


@dataclass(frozen=True)
class Guest:
    """One row of `limactl list --json`."""

    name: str
    status: str
    arch: str = ""
    vm_type: str = ""
    errors: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        return self.status == RUNNING


def parse_guests(text: str) -> dict[str, Guest]:
    """`limactl list --json` (one JSON object a line) as {name: Guest}. Raises Problem."""
    found = {}
    for row in _rows(text, "limactl list --json"):
        found[row["name"]] = Guest(
            row["name"],
            row.get("status", ""),
            row.get("arch", ""),
            row.get("vmType", ""),
            tuple(row.get("errors") or ()),
        )
    return found


def parse_networks(text: str) -> dict[str, dict]:
    """`limactl network list --json` as {name: {mode, gateway, …}}. Raises Problem."""
    return {row["name"]: row for row in _rows(text, "limactl network list --json")}


def parse_version(text: str) -> tuple[int, ...]:
    """`limactl --version`, "limactl version 2.2.0" or "… version v2.2.0-3-gabc", as (2, 2, 0)."""
    word = text.split()[-1].removeprefix("v").split("-")[0] if text.split() else ""
    try:
        return tuple(int(part) for part in word.split("."))
    except ValueError:
        # A build without a release number: Lima itself takes these for the newest.
        return (999,)


def _rows(text: str, command: str) -> list[dict]:
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        if not all(isinstance(row, dict) and "name" in row for row in rows):
            raise ValueError("rows with a name expected")
    except ValueError as error:
        raise Problem(f"{command} answered what is not its format: {error}") from error
    return rows


def plan_networks(pillar: Pillar, networks: dict[str, dict]) -> list[list[str]]:
    """The commands that make the networks which limactl does not have yet; [] is a no-op.

    Raises Problem for a network of that name that is another one: changing it would cut guests
    that are not ours.
    """
    commands = []
    for name, wanted in pillar.providers.lima.networks.items():
        definition = pillar.networks[name]
        gateway = f"{definition.gateway}/{definition.cidr.prefixlen}"
        if (found := networks.get(wanted.name)) is not None:
            same_mode = found.get("mode") == wanted.mode
            same_gateway = wanted.mode == "bridged" or found.get("gateway") == str(
                definition.gateway
            )
            if not (same_mode and same_gateway):
                raise Problem(
                    f"Lima's network {wanted.name} is {found.get('mode')} "
                    f"{found.get('gateway') or ''}, not {wanted.mode} {definition.gateway}",
                    where="networks.yaml below Lima's _config",
                    how=f"limactl network delete --force {wanted.name}, or another name in "
                    "pillar/providers.yaml",
                )
            continue
        command = ["network", "create", wanted.name, "--mode", wanted.mode]
        if wanted.mode == "bridged":
            command += ["--interface", wanted.bridge or "en0"]
        else:
            command += ["--gateway", gateway]
        commands.append(command)
    return commands


def plan_up(guests: dict[str, Guest], templates: dict[str, Path]) -> list[list[str]]:
    """The commands that make and start the guests; [] when all run.

    templates: {guest: rendered template}, in the order in which they start.
    """
    commands = []
    for name, template in templates.items():
        guest = guests.get(name)
        if guest is not None and guest.status not in (RUNNING, STOPPED):
            raise Problem(
                f"Lima says that {name} is {guest.status or 'in an unknown state'}",
                where="; ".join(guest.errors),
                how=f"limactl delete --force {name}, then ./voip up",
            )
        if guest is None:
            commands.append(["create", "--tty=false", f"--name={name}", str(template)])
        if guest is None or not guest.is_running:
            commands.append(["start", "--tty=false", name])
    return commands


def plan_stop(guests: dict[str, Guest], wanted: Iterable[str]) -> list[list[str]]:
    return [["stop", name] for name in wanted if name in guests and guests[name].is_running]


def plan_destroy(guests: dict[str, Guest], wanted: Iterable[str]) -> list[list[str]]:
    """Delete our guests. The networks stay: other guests may be on them."""
    return [["delete", "--force", name] for name in wanted if name in guests]


def guest_argv(name: str, argv: list[str]) -> list[str]:
    """The arguments that run argv as root in a guest. `--workdir /` as no directory is mounted."""
    return ["shell", "--workdir", "/", name, "sudo", "--", *argv]
