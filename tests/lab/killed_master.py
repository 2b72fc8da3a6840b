"""Kill a lab's master while it leads something: salt_bus.py tells when it has come to a step."""

from __future__ import annotations

import contextlib
import subprocess
import time

import psutil

from tests.lab.salt_bus import await_job, listening
from voip_stack.master import daemon

# By then the minions have found the new master, and what had begun goes on.
BY_ITSELF_S = 25.0


class Asked:
    """with Asked(argv, after_s) as asked: a process that `asked.again()` starts, not before after_s
    have passed, and anew when it has ended: a minion that has not found the new master yet has it
    fail. Killed at the end."""

    def __init__(self, argv, after_s):
        self._argv, self._process = argv, None
        self._due = time.monotonic() + after_s

    def __enter__(self):
        return self

    def again(self):
        is_over = self._process is None or self._process.poll() is not None
        if is_over and time.monotonic() > self._due:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(self._argv, start_new_session=True, **quiet)

    def __exit__(self, *_):
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def crash_through(argv, crashes, deadline_s, by_itself_s=BY_ITSELF_S):
    """Start what `argv` leads, and kill the master at each of `crashes`: (function, argument) of a
    job that has just been published, in their order.

    The first crash may be before its job has left, so that nothing has begun: where it does not go
    on by itself then, it is asked for once more. From then on it does. The bus is listened to all
    the time, or a step would be over before it is known. The master is down afterwards.
    """
    for number, crash in enumerate(crashes):
        daemon.start()
        after_s = {0: 0.0, 1: by_itself_s}.get(number, deadline_s)
        with listening() as bus, Asked(argv, after_s) as asked:
            await_job(bus, *crash, deadline_s=deadline_s, meanwhile=asked.again)
            kill_master()


def kill_master():
    """kill -9 of the lab's master and of its workers, by their process ids."""
    master = daemon.process()
    assert master is not None
    family = [master, *master.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)
