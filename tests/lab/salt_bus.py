"""The lab master's event bus, as tests listen to it."""

from __future__ import annotations

import contextlib
import json
import threading
import time

from voip_stack.master import client


class NoSuchJobError(AssertionError):
    """A job that a test waits for was not published in time."""


@contextlib.contextmanager
def listening():
    """The master's events, from now on."""
    import salt.config
    import salt.utils.event

    options = salt.config.client_config(client.config_file())
    with salt.utils.event.get_event(
        "master", sock_dir=options["sock_dir"], opts=options, listen=True
    ) as bus:
        bus.connect_pub()
        yield bus


def await_job(bus, function, argument="", deadline_s=60, meanwhile=lambda: None):
    """Until a job of `function` with `argument` has been published; its event's data.

    meanwhile: called each second of the wait.
    """
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        meanwhile()
        event = bus.get_event(tag="salt/job/", match_type="startswith", wait=1, full=True)
        if event and event["tag"].endswith("/new"):
            data = event["data"]
            if data["fun"] == function and argument in json.dumps(data["arg"]):
                return data
    raise NoSuchJobError(f"no job {function} {argument}")


class Heard:
    """with Heard() as heard: ...: what the master started meanwhile.

    jobs: [(function, minions)] published; runners: [function] begun. Both as the bus tells them,
    but for the pings by which the master's schedule begins to look what is due, at any time.
    """

    def __init__(self):
        self.jobs, self.runners = [], []
        self._ready, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _listen(self):
        with listening() as bus:
            self._ready.set()
            while not self._end.is_set():
                event = bus.get_event(tag="salt/", match_type="startswith", wait=0.5, full=True)
                if event and event["tag"].endswith("/new"):
                    self._take(event["tag"].split("/")[1], event["data"])

    def _take(self, origin, data):
        if origin == "job" and data["fun"] != "test.ping":
            self.jobs.append((data["fun"], data.get("minions", [])))
        elif origin == "run":
            self.runners.append(data["fun"].removeprefix("runner."))
