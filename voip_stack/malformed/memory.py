"""The proxy's processes and memory: which ones live, what is resident, what of the pool is used."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from voip_stack.master import client
from voip_stack.providers.base import Provider

# Run on the proxy's host, with its daemon's name: {pid: KiB}, the proportional set size of each
# process. Without what is mapped to be shared, which is the pool: of that the proxy itself knows
# how much is used, and its pages stay resident once one has touched them.
PROGRAM = """
import json, pathlib, re, sys
found = {}
for path in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if (path / "comm").read_text().strip() != sys.argv[1]:
            continue
        size = is_shared = 0
        for line in (path / "smaps").read_text().splitlines():
            if mapping := re.match(r"[0-9a-f]+-[0-9a-f]+ ...(.) ", line):
                is_shared = mapping[1] == "s"
            elif line.startswith("Pss:") and not is_shared:
                size += int(line.split()[1])
        found[path.name] = size
    except OSError:
        pass
print(json.dumps(found))
"""
FLAT = 0.05
SETTLE_S, LOOK_EVERY_S = 45.0, 3.0


@dataclass(frozen=True)
class Memory:
    """pids: of every process. resident_kib: of all of them together, without the shared pool.
    pool_kib: what is used of that."""

    pids: tuple[int, ...]
    resident_kib: int
    pool_kib: int

    @property
    def mib(self) -> float:
        """All of it."""
        return (self.resident_kib + self.pool_kib) / 1024

    def is_flat_after(self, before: Memory, once_kib: int = 0) -> bool:
        """Neither has grown by more than 5 %, but for once_kib that each process gets once."""
        return (
            self.resident_kib <= before.resident_kib * (1 + FLAT) + once_kib * len(before.pids)
            and self.pool_kib <= before.pool_kib * (1 + FLAT)
        )  # fmt: skip


def look(provider: Provider, host: str, proxy: str = "kamailio") -> Memory:
    """As it is now."""
    done = provider.run(host, ["python3", "-", proxy], stdin=PROGRAM.encode())
    sizes = {int(pid): kib for pid, kib in json.loads(done.stdout).items()}
    used = client.call(host, f"{proxy}.pool_used")
    return Memory(tuple(sorted(sizes)), sum(sizes.values()), used // 1024)


def settled(
    provider: Provider, host: str, proxy: str = "kamailio", before: Memory | None = None
) -> Memory:
    """Once what was in flight is given back: flat after `before`, else no longer shrinking."""
    deadline = time.monotonic() + SETTLE_S
    now = look(provider, host, proxy)
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        last, now = now, look(provider, host, proxy)
        if now.is_flat_after(before) if before else now.pool_kib >= last.pool_kib:
            break
    return now
