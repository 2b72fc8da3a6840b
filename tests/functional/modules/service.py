"""Stands where Salt's service module does: the daemons under test are this test's own processes."""

import os
import pathlib
import signal

__virtualname__ = "service"


def __virtual__():
    return __virtualname__


def reload(name, **_):
    """Send SIGHUP to the process whose id is in run/<name>.pid, as its unit does."""
    run = pathlib.Path(__opts__["voip_stack_dir"], "run")  # noqa: F821 Salt's loader gives it
    pid = (run / f"{name}.pid").read_text(encoding="utf-8")
    os.kill(int(pid), signal.SIGHUP)
    return True
