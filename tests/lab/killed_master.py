"""Kill a lab's master while it leads something: salt_bus.py tells when it has come to a step."""

from __future__ import annotations

import contextlib
import subprocess

import psutil

from tests.lab.salt_bus import await_job, listening
from voip_stack.master import daemon
from voip_stack.up.run import wait_for_minions


class Asked:
    """with Asked(argv) as asked: a process that is started anew by `asked.again()` when it has
    ended: a minion that has not found the new master yet has it fail. Killed at the end."""

    def __init__(self, argv):
        self._argv, self._process = argv, None

    def __enter__(self):
        self.again()
        return self

    def again(self):
        if self._process is None or self._process.poll() is not None:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(self._argv, start_new_session=True, **quiet)

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


def crash_through(pillar, argv, crashes, deadline_s):
    """Start what `argv` leads, and kill the master at each of `crashes`: (function, argument) of a
    job that has just been published, in their order.

    It is asked for twice: the first crash may be before its job has left, so that nothing has
    begun. From then on it goes on by itself. The master is down afterwards.
    """
    for number, crash in enumerate(crashes):
        daemon.start()
        with listening() as bus:
            if number < 2:
                wait_for_minions(pillar, lambda _: None)
                with Asked(argv) as asked:
                    await_job(bus, *crash, deadline_s=deadline_s, meanwhile=asked.again)
                    kill_master()
            else:
                await_job(bus, *crash, deadline_s=deadline_s)
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
