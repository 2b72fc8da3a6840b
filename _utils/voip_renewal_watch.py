"""The certificate beacon's rules and memory: what is due, when it is told, and when again.

Lives as long as the minion's process: the loader makes a beacon's own module anew at each refresh.
"""

import contextlib
import grp
import hashlib
import os
import socket

import voip_generations
import voip_x509

# Told within this first part of the window, at a moment that differs from host to host and from
# certificate to certificate: what was made together is not renewed in one instant.
JITTER = 0.2
# Pauses between one telling and the next of the same thing: doubled each time, between these.
FIRST_S = 5.0
MOST_S = 60.0
# A renewal or a state run may be about to end what looks missing or half done.
SETTLE_S = 60.0
_CONNECT_S = 0.2

_watches = {}


def news(directory, host, certificates, now):
    """Return what to tell the master: [{"name", "why", "at", "left_s"}, ...].

    directory: of the certificates. certificates: {name: {"renew_fraction", "group", "listeners"}}.
    now: epoch. why: "ends" (it is in its window), "missing", or "unproven" (a renewal that was
    interrupted). left_s: of its life, below 0 after its end. A file is read again only when it
    has changed.
    """
    for name in set(_watches) - set(certificates):
        del _watches[name]
    found = []
    for name, wanted in certificates.items():
        watch = _watches.setdefault(name, Watch(directory, host, name))
        if why := watch.news(wanted, now):
            found.append({"name": name, "why": why, "at": now, "left_s": watch.left_s(now)})
    return found


def due_at(life, fraction, key):
    """Return when a certificate is told, epoch. life: (begin, end), epochs. key: whose it is.

    The window begins when `fraction` of its life is left.
    """
    begin, end = life
    digest = hashlib.sha256(key.encode()).digest()
    spread = int.from_bytes(digest[:4], "big") / 2**32
    return end - (end - begin) * fraction * (1 - JITTER * spread)


def pause_s(times, left_s):
    """Return the seconds until it is told again. times: so far. left_s: of its life, or 0."""
    bound = min(MOST_S, max(2 * FIRST_S, left_s / 10))
    return min(bound, FIRST_S * 2 ** min(times - 1, 10))


class Watch:
    """One certificate."""

    def __init__(self, directory, host, name):
        self._directory, self._host, self._name = directory, host, name
        self._stamp, self._life, self._serial = None, None, ""
        self._since = {}  # why -> epoch when it was seen first
        self._times, self._next = 0, 0.0

    def news(self, wanted, now):
        """Return why it is told now, None when it is not."""
        self._read()
        why = self._why(wanted, now)
        self._since = {kind: since for kind, since in self._since.items() if kind == why}
        if why is None:
            self._times = 0
            return None
        since = self._since.setdefault(why, now)
        if why != "ends" and now - since < SETTLE_S:
            return None
        if self._times and now < self._next:
            return None
        self._times += 1
        self._next = now + pause_s(self._times, self.left_s(now))
        return why

    def left_s(self, now):
        """Return the seconds to its end, 0 where there is none."""
        return round(self._life[1] - now, 1) if self._life else 0.0

    def _read(self):
        """Have begin, end and serial number of what is in use; a stat when nothing has changed."""
        path = os.path.join(self._directory, f"{self._name}.crt")
        try:
            status = os.stat(path)
            stamp = (status.st_ino, status.st_mtime_ns)
            if stamp == self._stamp:
                return
            with open(path, encoding="utf-8") as file:
                self._life, self._serial = voip_x509.life(file.read())
        except (OSError, ValueError):
            stamp, self._life = None, None
        self._stamp, self._times = stamp, 0

    def _why(self, wanted, now):
        if self._life is None:
            return "missing" if _exists(wanted["group"]) else None
        key = f"{self._host}/{self._name}/{self._serial}"
        if now >= due_at(self._life, wanted["renew_fraction"], key):
            return "ends"
        if voip_generations.others(self._directory, self._name) and _listens(wanted["listeners"]):
            return "unproven"
        return None


def _exists(group):
    """Whether the component's package is there: before that nothing can have a certificate."""
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _listens(listeners):
    for address, port in listeners:
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), _CONNECT_S).close()
            return True
    return False
