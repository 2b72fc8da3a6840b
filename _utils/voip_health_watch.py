"""The health beacon's memory: the prober's process, its answers, and when they become an event.

Lives as long as the minion's process: the loader makes a beacon's own module anew at each refresh.
"""

import contextlib
import json
import os
import subprocess
import sys

_PROBER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "voip_prober.py")
_watches = {}


def changes(config, now):
    """Return what is news of the probed services: [(kind, data)], see `Service.news`.

    config: probes, interval_s, timeout_s, bad_in_a_row, repeat_s. Never blocks. now: epoch.
    """
    key = json.dumps(config, sort_keys=True)
    watch = _watches.get("one")
    if watch is None or watch.key != key or not watch.is_running():
        services = watch.services if watch is not None else {}
        if watch is not None:
            watch.stop()
        watch = _watches["one"] = Watch(key, config, services)
    return watch.news(config, now)


class Watch:
    """One prober process."""

    def __init__(self, key, config, services):
        self.key = key
        self.services = {name: services.get(name) or Service(name) for name in config["probes"]}
        self._rest = b""
        order = {name: config[name] for name in ("probes", "interval_s", "timeout_s")}
        self._process = subprocess.Popen(
            [sys.executable, _PROBER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        with contextlib.suppress(OSError):  # it died: the next beat starts another
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def is_running(self):
        return self._process.poll() is None

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def news(self, config, now):
        for line in self._lines():
            service = self.services.get(line["service"])
            if service is not None:
                service.take(line["what"], line["at"])
        found = (
            service.news(config["bad_in_a_row"], config["repeat_s"], now)
            for service in self.services.values()
        )
        return [item for item in found if item]

    def _lines(self):
        # None: nothing to read yet.
        data = self._rest + (self._process.stdout.read(1 << 20) or b"")
        *lines, self._rest = data.split(b"\n")
        return [json.loads(line) for line in lines if line]


class Service:
    """What the probes of one service said last. up: None until something is known.

    has_answered: whether it ever did: one that did not may just be on its way for the first time.
    """

    def __init__(self, name):
        self.name = name
        self.up = None
        self.what = ""
        self.heard = False
        self.has_answered = False
        self.bad = 0
        self.since = 0.0  # epoch of the first bad one
        self.told = 0.0

    def take(self, what, at):
        """Count one answer; what: "" for a good one."""
        self.heard = True
        if not what:
            self.bad = 0
            self.has_answered = True
            return
        if not self.bad:
            self.since = at
        self.bad += 1
        self.what = what

    def news(self, bad_in_a_row, repeat_s, now):
        """Return (kind, data) when the service went down, is down still, or came back; else None.

        Down is told again every repeat_s: the master may have been away.
        """
        if self.bad >= bad_in_a_row:
            if self.up is False and now - self.told < repeat_s:
                return None
            self.up, self.told = False, now
            for_s = round(max(0.0, now - self.since), 1)
            said = {"what": self.what[:300], "for_s": for_s, "has_answered": self.has_answered}
            return "service/down", {"service": self.name, **said}
        if self.heard and not self.bad and self.up is not True:
            # The first good one is told too: the master may remember a failure from before.
            self.up = True
            return "service/up", {"service": self.name}
        return None
