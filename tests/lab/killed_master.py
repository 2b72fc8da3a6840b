"""Kill a lab's master while it leads something: salt_bus.py tells when it has come to a step."""

from __future__ import annotations

import contextlib
import subprocess

import psutil

from tests.lab.salt_bus import await_job, listening
from voip_stack.master import daemon


@contextlib.contextmanager
def in_background(argv):
    """A process that is killed, whatever it does, at the end."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, start_new_session=True, **quiet) as process:
        try:
            yield
        finally:
            process.kill()


def crash_through(argv, crashes, deadline_s):
    """Start what `argv` leads, and kill the master at each of `crashes`: (function, argument) of a
    job that has just been published, in their order.

    It is asked for twice: the first crash may be before its job has left, so that nothing has
    begun. From then on it goes on by itself. The master is down afterwards.
    """
    for number, crash in enumerate(crashes):
        daemon.start()
        with listening() as bus, contextlib.ExitStack() as stack:
            if number < 2:
                stack.enter_context(in_background(argv))
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
