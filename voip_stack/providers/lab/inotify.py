"""inotify instances: each user of the host has a number of them, and a lab's systemds take many.

A guest whose systemd gets none does not boot, and says so nowhere that anybody looks.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from voip_stack.problem import Problem

LIMIT = "fs.inotify.max_user_instances"
# systemd has four, D-Bus and logind one each (counted in a running lab).
FOR_A_GUEST = 6


def problem(guests: int) -> Problem | None:
    """Why `guests` more cannot be started, None when they can."""
    return judge(_limit(), _used(os.geteuid()), guests * FOR_A_GUEST)


def judge(limit: int, used: int, needed: int) -> Problem | None:
    if limit - used >= needed:
        return None
    return Problem(
        f"The guests need {needed} inotify instances; {used} of {limit} are in use",
        LIMIT,
        f"sysctl -w {LIMIT}={max(1024, 2 * (used + needed))}, or destroy a lab that is not needed "
        "(./voip status --all)",
        3,
    )


def _limit() -> int:
    return int(Path("/proc/sys", LIMIT.replace(".", "/")).read_text())


def _used(user: int) -> int:
    """Of the processes of `user`, guests' included."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                count += instances(int(process.name))
        except OSError:
            continue  # it has ended
    return count


def instances(pid: int) -> int:
    """How many a process has."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            count += os.readlink(link) == "anon_inode:inotify"
    return count
