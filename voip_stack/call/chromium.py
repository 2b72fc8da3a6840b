"""Start a Chromium on the web phone: for a call of the tests, or for a person.

That of a test is headless and its microphone plays a tone; a person's has a window and the
desktop's sound. It runs in the network of the outside, with this machine's files. Its directory is
in memory and goes with it. Beside its own roots it trusts the platform's, by a store in that
directory; nothing of its certificate checks is switched off.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import pwd
import random
import shutil
import struct
import subprocess
import tempfile
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voip_stack.call.devtools import DevTools
from voip_stack.call.failure import CallError

# Debian packages; certutil is of the second.
PACKAGES = ("chromium", "libnss3-tools")
CLOSE_DEADLINE_S = 5.0
# Where systemd takes the users from that it makes for a unit (DynamicUser=): nobody else's.
USERS = range(61184, 65520)
SAMPLE_RATE = 48000
TONE_S = 1
TONE_LEVEL = 0.4
# Ends with Chromium, which ends with its pipes; then its directory goes, whoever has been killed.
KEEPER = 'orders=$1 answers=$2 room=$3; shift 3; "$@" 3<&"$orders" 4>&"$answers"; rm -rf -- "$room"'
OPTIONS = (
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
)
OPTIONS_OF_TESTS = (
    "--headless=new",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
# Where a desktop has its screen and its sound.
DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "PULSE_SERVER")

# The command that runs a command of this machine in the network of the outside.
Inside = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Start:
    """What a browser is started with. names: {name: address}; no other name resolves in it.

    tone_hz: what its microphone plays; None for a window with the desktop's own.
    """

    inside: Inside
    ca_pem: str
    names: Mapping[str, str]
    tone_hz: int | None


class Chromium:
    """One browser process. Close it, or use it as a context manager."""

    def __init__(
        self,
        start: Start,
        on_event: Callable[[str, dict[str, Any], str], None],
        on_end: Callable[[], None],
    ):
        if shutil.which("chromium") is None or shutil.which("certutil") is None:
            raise CallError("", f"not installed: {' or '.join(PACKAGES)}")
        self._process, self.devtools = _start(start, on_event, on_end)

    @property
    def pid(self) -> int:
        """Of the process whose children are the browser's."""
        return self._process.pid

    def wait(self) -> None:
        """Until it has ended and its directory is gone."""
        self._process.wait()

    def close(self) -> None:
        """End it and wait until its directory is gone."""
        with contextlib.suppress(CallError):
            self.devtools.ask("Browser.close")
        self.devtools.close()
        try:
            self._process.wait(CLOSE_DEADLINE_S)
        except subprocess.TimeoutExpired:
            # The whole session is ours: the keeper, the browser and its helpers.
            os.killpg(self._process.pid, 9)
            self._process.wait()


def resolver_rules(names: Mapping[str, str]) -> str:
    """Chromium's rules for a world that has these names and no other."""
    known = [
        f"MAP {name} {f'[{address}]' if ':' in address else address}"
        for name, address in names.items()
    ]
    return ", ".join([*known, "MAP * ~NOTFOUND"])


def tone(hertz: int) -> bytes:
    """Samples of a sine, 16 bits each, of whole periods: it is played over and over."""
    step = 2 * math.pi * hertz / SAMPLE_RATE
    count = SAMPLE_RATE * TONE_S
    values = (round(TONE_LEVEL * 32767 * math.sin(step * at)) for at in range(count))
    return struct.pack(f"<{count}h", *values)


def _start(
    start: Start,
    on_event: Callable[[str, dict[str, Any], str], None],
    on_end: Callable[[], None],
) -> tuple[subprocess.Popen[bytes], DevTools]:
    memory = "/dev/shm"  # noqa: S108  (a tmpfs: what is heard and typed never reaches a disk)
    room = Path(tempfile.mkdtemp(prefix="voip-browser-", dir=memory))
    try:
        user = _furnish(room, start)
    except BaseException:
        shutil.rmtree(room, ignore_errors=True)
        raise
    argv = start.inside([*user, *_environment(room, start), "chromium", *_options(room, start)])
    ours_out, theirs_in = _pipe()
    theirs_out, ours_in = _pipe()
    with open(room / "log", "wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", KEEPER, "voip-browser", *map(str, (theirs_in, theirs_out, room)), *argv],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    for number in (theirs_in, theirs_out):
        os.close(number)
    return process, DevTools(ours_out, ours_in, on_event, on_end)


def _pipe() -> tuple[int, int]:
    """(end to write to, end to read from) above 9, clear of what the shell redirects."""
    read, write = os.pipe()
    ends = tuple(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10) for number in (write, read))
    os.close(read)
    os.close(write)
    return ends[0], ends[1]


def _furnish(room: Path, start: Start) -> list[str]:
    """Fill the browser's directory. Returns the command by which it gets its user."""
    if start.tone_hz is not None:
        with wave.open(str(room / "tone.wav"), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(SAMPLE_RATE)
            sound.writeframes(tone(start.tone_hz))
    (room / "ca.crt").write_text(start.ca_pem)
    store = room / ".pki" / "nssdb"
    store.mkdir(parents=True)
    database = f"sql:{store}"
    for words in (
        ["-N", "--empty-password"],
        ["-A", "-n", "platform", "-t", "C,,", "-i", str(room / "ca.crt")],
    ):
        done = subprocess.run(
            ["certutil", "-d", database, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CallError("", f"certutil: {done.stderr.strip()}")
    if os.geteuid():
        return []
    # A window belongs to whoever has the desktop.
    own = os.environ.get("SUDO_UID") if start.tone_hz is None else None
    user = int(own) if own else _free_user()
    for path in (room, *room.rglob("*")):
        os.chown(path, user, user)
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]


def _free_user() -> int:
    """The number of a user that nobody is: Chromium's sandbox does not work for root."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return random.choice([number for number in USERS if number not in taken])  # noqa: S311


def _environment(room: Path, start: Start) -> list[str]:
    desktop = DESKTOP if start.tone_hz is None else ()
    passed = [f"{name}={os.environ[name]}" for name in desktop if name in os.environ]
    return ["env", "-i", f"HOME={room}", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", *passed]


def _options(room: Path, start: Start) -> list[str]:
    of_tests = [*OPTIONS_OF_TESTS, f"--use-file-for-fake-audio-capture={room / 'tone.wav'}"]
    return [
        *OPTIONS,
        *(of_tests if start.tone_hz is not None else ()),
        f"--user-data-dir={room / 'profile'}",
        f"--host-resolver-rules={resolver_rules(start.names)}",
        "about:blank",
    ]
