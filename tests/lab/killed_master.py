"""Kill a lab's master at a step of what it leads: a job that has just been published."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time

import psutil

from voip_stack.master import client, daemon


class NoSuchJobError(AssertionError):
    """What is led did not come to the step where it was to be killed."""


@contextlib.contextmanager
def in_background(argv):
    """A process that is killed, whatever it does, at the end."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, start_new_session=True, **quiet) as process:
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def bus_of_master():
    """The master's events, from now on."""
    import salt.config
    import salt.utils.event

    options = salt.config.client_config(client.config_file())
    with salt.utils.event.get_event(
        "master", sock_dir=options["sock_dir"], opts=options, listen=True
    ) as bus:
        bus.connect_pub()
        yield bus


def await_job(bus, function, argument, deadline_s=60):
    """Until a job of `function` with `argument` has been published."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        event = bus.get_event(tag="salt/job/", match_type="startswith", wait=1, full=True)
        if event and event["tag"].endswith("/new"):
            data = event["data"]
            if data["fun"] == function and argument in json.dumps(data["arg"]):
                return
    raise NoSuchJobError(f"no job {function} {argument}")


def kill_master():
    """kill -9 of the lab's master and of its workers, by their process ids."""
    master = daemon.process()
    assert master is not None
    family = [master, *master.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)
