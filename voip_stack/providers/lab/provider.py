"""The lab behind the Provider interface."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import psutil

from voip_stack import paths
from voip_stack.cache import Cache
from voip_stack.packages.mirror import host_mirror
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem
from voip_stack.providers.base import Guest, Progress, Provider
from voip_stack.providers.lab import (
    addresses,
    aptconf,
    commands,
    debpool,
    egress,
    guests,
    images,
    inotify,
    limits,
    netns,
    nspawn,
    registry,
    sockets,
    teardown,
    units,
)

T = TypeVar("T")
R = TypeVar("R")
EXIT_MACHINE = 3
WORKERS = 2
INDEX_DAYS = 7
PACKAGES = (
    "systemd-container", "mmdebstrap", "nftables", "iproute2", "util-linux", "ca-certificates",
    "debian-archive-keyring", "tcpdump",
)  # fmt: skip


class LabProvider(Provider):
    name = "lab"

    def __init__(self, pillar: Pillar):
        super().__init__(pillar)
        self.cache = Cache()
        self._notes: list[str] = []

    @classmethod
    def detect(cls) -> bool:
        return platform.system() == "Linux" and shutil.which("apt-get") is not None

    def packages_needed(self) -> list[str]:
        return list(PACKAGES)

    # --- before anything is made -------------------------------------------------------------

    def problems(self) -> list[Problem]:
        if platform.system() != "Linux":
            how = "./voip up --provider lima"
            return [Problem("The lab needs Linux", platform.system(), how, EXIT_MACHINE)]
        if os.geteuid() != 0:
            return [
                Problem(
                    "The lab needs root: it makes network namespaces and guests",
                    f"user {os.geteuid()}",
                    "sudo ./voip up, or ./voip up --provider lima (needs no root)",
                    EXIT_MACHINE,
                )
            ]
        return [*self._network_problems(), *self._tool_problems(), *self._kernel_problems()]

    def _kernel_problems(self) -> list[Problem]:
        off = [
            name for name, guest in self.guests().items() if guest.state in ("absent", "stopped")
        ]
        found = inotify.problem(len(off))
        return [found] if found else []

    def _tool_problems(self) -> list[Problem]:
        tools = ("systemd-nspawn", "mmdebstrap", "nft", "ip", "nsenter")
        missing = [tool for tool in tools if not shutil.which(tool)]
        if not missing:
            return []
        how = f"apt-get install {' '.join(PACKAGES)}"
        return [Problem(f"Not installed: {', '.join(missing)}", "", how, EXIT_MACHINE)]

    def _network_problems(self) -> list[Problem]:
        mirror = host_mirror()
        found = []
        for host, port in aptconf.proxies(mirror):
            if host == "localhost" or host.startswith("127."):
                found.append(
                    Problem(
                        f"Guests cannot reach apt's proxy {host}:{port}: it is on the loopback",
                        "apt-config dump | grep -i proxy",
                        "give it an address that is not on the loopback",
                        EXIT_MACHINE,
                    )
                )
        if not addresses.resolvers():
            found.append(
                Problem(
                    "No name server that guests could ask",
                    "/etc/resolv.conf has none, or only one on the loopback",
                    "name one with an IPv4 address there",
                    EXIT_MACHINE,
                )
            )
        labs = {str(name): definition.cidr for name, definition in self.pillar.networks.items()}
        needs = addresses.host_needs([mirror.debian, mirror.security])
        return found + addresses.overlaps(labs, needs)

    # --- network ------------------------------------------------------------------------------

    def record(self) -> registry.Record:
        """This checkout's record. Problem when there is no lab."""
        found = registry.find(registry.lab_name(paths.state_dir()))
        if found is None:
            raise Problem("There is no lab for this checkout", str(paths.checkout()), "./voip up")
        return found

    def _ensure_record(self) -> registry.Record:
        name = registry.lab_name(paths.state_dir())
        record = registry.find(name)
        if record is None:
            others = [addresses.IPv4Network(other.link) for other in registry.records()]
            seed = name.removeprefix("voip-")
            link = addresses.choose_link(seed, [*addresses.used_links(), *others])
            paths.state_dir().mkdir(parents=True, exist_ok=True)
            record = registry.new(paths.state_dir(), paths.checkout(), str(link))
        if not record.is_of_this_boot:
            record.boot_id, record.guests, record.forwarding = registry.boot_id(), {}, []
        record.save()
        return record

    def prepare_network(self, progress: Progress) -> None:
        record = self._ensure_record()
        progress(f"namespace {record.name}, link {record.link}")
        resolvers = addresses.resolvers()
        proxies = [
            (address, port)
            for host, port in aptconf.proxies(host_mirror())
            for address in addresses.lookup(host)
        ]
        netns.ensure(record, self.pillar, egress.Exits(resolvers, proxies))
        netns.pass_host_firewall(record)
        netns.switch_on_forwarding(record, [*resolvers, *(host for host, _ in proxies)])

    @property
    def master_address(self) -> str:
        return addresses.host_end(self.record().link)

    # --- guests -------------------------------------------------------------------------------

    def ensure_guests(self, progress: Progress) -> None:
        record = self.record()
        resolvers = addresses.resolvers()
        self._remove_undeclared(record, progress)
        absent = [name for name in self.pillar.hosts if not guests.root(name).is_dir()]
        with guests.full_disk_said(guests.directory()):
            if absent:
                self._make(absent, progress)
            stopped = [name for name in self.pillar.hosts if nspawn.leader(record, name) is None]
            for name in stopped:
                guests.configure(self.pillar, name, resolvers)
            others = [name for name in self.pillar.hosts if name not in stopped]
            self._readdress(others, resolvers, progress)
        given = self._limits()
        specs = [guests.spec(self.pillar, name) for name in self.pillar.hosts]
        for spec in specs:
            if spec.name in stopped:
                progress(f"start {spec.name}")
                nspawn.kill(record, spec.name)
                self._notes += nspawn.start(record, spec, given[spec.name])
            elif spec.external_interface:
                nspawn.plug(record, spec.name)
        progress("wait until they have booted")
        nspawn.wait_until_up(record, specs)
        self._refresh_indexes(
            [name for name in absent if self.pillar.hosts[name].is_minion], progress
        )

    def _readdress(self, running: list[str], resolvers: Sequence[str], progress: Progress) -> None:
        """Give running guests the addresses that the pillar has got since they were started."""
        for name in running:
            if guests.has_addresses_of(self.pillar, name):
                continue
            progress(f"new addresses for {name}")
            guests.configure(self.pillar, name, resolvers)
            self.run(name, [units.NETWORK_PROGRAM])

    def fill_cache(self, progress: Progress) -> None:
        self._images(list(self.pillar.hosts), progress)

    def _images(self, names: list[str], progress: Progress) -> dict[images.Kind, Path]:
        mirror = host_mirror()
        wanted = images.kinds(self.pillar, names)
        made = self._parallel(
            lambda kind: images.ensure(self.cache, kind, mirror, paths.logs_dir(), progress), wanted
        )
        return dict(zip(wanted, made, strict=True))

    def _make(self, names: list[str], progress: Progress) -> None:
        made = self._images(names, progress)
        of_guest = {name: made[images.kind_of(self.pillar, name)] for name in names}
        guests.require_space(list(of_guest.values()))

        def copy(name: str) -> None:
            started = time.monotonic()
            guests.copy(name, of_guest[name])
            suite = self.pillar.hosts[name].os
            count = debpool.seed(self.cache, suite, name, guests.root(name))
            took = time.monotonic() - started
            progress(f"{name} copied in {took:.1f} s, {count} packages at hand")

        self._parallel(copy, names)

    def _refresh_indexes(self, names: list[str], progress: Progress) -> None:
        """An image's package index ages: files that it names leave the mirror after a while."""
        oldest = time.time() - INDEX_DAYS * 86400
        stale = [name for name in names if guests.index_time(name) < oldest]
        if not stale:
            return
        progress(f"the images' package index is older than {INDEX_DAYS} days: asking the mirror")

        def refresh(name: str) -> None:
            argv = ["apt-get", "-q", "update"]
            if self.run(name, argv, check=False, timeout=300).returncode:
                self._notes.append(f"{name}: the package index is old and the mirror is silent")

        self._parallel(refresh, stale)

    @staticmethod
    def _parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                return [future.result() for future in futures]
            except BaseException:
                # Ctrl-C, or one of them failed: the others' commands end, their threads with them.
                pool.shutdown(wait=False, cancel_futures=True)
                # Not wait(): it never calls a cancelled one done.
                while not all(future.done() for future in futures):
                    commands.stop_all()
                    time.sleep(0.1)
                raise

    def _remove_undeclared(self, record: registry.Record, progress: Progress) -> None:
        """A host that left the pillar takes its guest with it, and what that held."""
        for name in [name for name in record.guests if name not in self.pillar.hosts]:
            teardown.remove_guest(record, name, guests.root(name), progress)

    def _wanted(self) -> dict[str, limits.Limit]:
        return {
            name: limits.Limit(host.vcpus, host.memory_mib)
            for name, host in self.pillar.hosts.items()
        }

    def _limits(self) -> dict[str, limits.Limit]:
        return limits.scale(self._wanted(), *limits.of_this_host())

    def settle(self, progress: Progress) -> None:
        for name, host in self.pillar.hosts.items():
            new = debpool.collect(self.cache, host.os, name, guests.root(name))
            if new:
                progress(f"{new} packages of {name} kept in the cache")

    def notes(self) -> list[str]:
        return [*limits.notes(self._wanted(), self._limits()), *self._notes]

    # --- looking and reaching in --------------------------------------------------------------

    def guests(self) -> dict[str, Guest]:
        record = registry.find(registry.lab_name(paths.state_dir()))
        given = self._limits()
        return {name: self._guest(record, name, given[name]) for name in self.pillar.hosts}

    def _guest(self, record: registry.Record | None, name: str, limit: limits.Limit) -> Guest:
        host = self.pillar.hosts[name]
        pid = nspawn.leader(record, name) if record and record.is_of_this_boot else None
        if record is None or not guests.root(name).is_dir():
            state = "absent"
        elif pid is None:
            state = "stopped"
        else:
            state = "running" if nspawn.is_up(record, name) else "starting"
        return Guest(
            name=name,
            state=state,
            internal=str(host.internal) if host.internal else None,
            external=str(host.external) if host.external else None,
            os=host.os,
            vcpus=limit.vcpus,
            memory_mib=limit.memory_mib,
            memory_used_mib=limits.memory_used_mib(record.name, name) if record and pid else None,
            uptime_s=int(time.time() - psutil.Process(pid).create_time()) if pid else None,
        )

    def command(self, host: str, argv: Sequence[str], *, tty: bool = False) -> list[str]:
        return nspawn.enter_argv(self._leader(host), argv, tty=tty)

    def network_command(self, host: str, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--target={self._leader(host)}", "--net", "--", *argv]

    def _leader(self, host: str) -> int:
        """The pid of a guest's init as this machine has it."""
        if host not in self.pillar.hosts:
            known = ", ".join(self.pillar.hosts)
            raise Problem(f"There is no host {host}", "pillar/topology.yaml", f"one of {known}")
        pid = nspawn.leader(self.record(), host)
        if pid is None:
            raise Problem(f"The guest {host} does not run", "./voip status", "./voip up")
        return pid

    def connect(self, address: str, port: int, timeout_s: float = 5) -> socket.socket:
        return sockets.connect(netns.path(self.record().name), address, port, timeout_s)

    def namespace_command(self, argv: Sequence[str]) -> list[str]:
        """Run `argv` in the lab's namespace, on its bridges br-int and br-ext (captures)."""
        return netns.enter(self.record().name, argv)

    def dropped(self) -> int:
        """Packets that were not let out so far."""
        return netns.dropped(self.record())

    def remove(self, host: str, progress: Progress) -> None:
        teardown.remove_guest(self.record(), host, guests.root(host), progress)

    def destroy(self, progress: Progress) -> None:
        record = registry.find(registry.lab_name(paths.state_dir()))
        if record is not None:
            teardown.destroy(record, progress)


PROVIDER = LabProvider
