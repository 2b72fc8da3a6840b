"""Kill a lab's master while it leads something: salt_bus.py tells when it has come to a step."""

from __future__ import annotations

import contextlib
import subprocess

import psutil

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


def kill_master():
    """kill -9 of the lab's master and of its workers, by their process ids."""
    master = daemon.process()
    assert master is not None
    family = [master, *master.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)
