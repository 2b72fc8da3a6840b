"""Rule 1 of the design: no live secret value outside the Vault server and its daemon's own file.

Every secret of the Vault is looked for in the checkout and its git history, in the state directory
(job cache, logs), on the event bus during a run, in process arguments and environments, in the
journals, in every file that others can read, and in Salt's caches on the guests.
"""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from voip_stack import paths
from voip_stack.master import client

INTERPRETER = "/opt/voip-minion/bin/python"
READER = Path(__file__).with_name("secret_values.py")
# Where a guest keeps what only root or one daemon may read: secrets belong there.
SEARCHED = "/etc /var /run /opt /home /root /tmp /usr/local"


class Secrets:
    """Every secret of the Vault by name. Its values never show in pytest's output."""

    def __init__(self, values):
        self._values = {name: value.encode() for name, value in values.items()}

    def __repr__(self):
        return f"<{len(self._values)} secrets>"

    def __len__(self):
        return len(self._values)

    def found_in(self, content):
        """Names of the secrets whose value is in `content`, bytes."""
        return sorted(name for name, value in self._values.items() if value in content)


@pytest.fixture(scope="module")
def secrets(provider):
    done = provider.run("devstack", [INTERPRETER, "-"], stdin=READER.read_bytes(), timeout=120)
    found = Secrets(json.loads(done.stdout))
    assert len(found), "the Vault holds no secret: nothing was proved"
    return found


def test_the_scan_finds_what_is_there(secrets, provider):
    """The control: a value where it may be, in the file that its daemon reads, is found."""
    asterisk = provider.run("pbx-1", ["sh", "-c", "cat /etc/asterisk/voip/*"]).stdout
    assert any("pbx-1" in name for name in secrets.found_in(asterisk))


def test_checkout_and_history(secrets):
    root = paths.checkout()
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split(b"\0")):
        path = root / name.decode()
        if path.is_file():
            assert secrets.found_in(path.read_bytes()) == [], path
    history = subprocess.run(
        ["git", "-C", root, "log", "-p", "--all"], capture_output=True, check=True
    )
    assert secrets.found_in(history.stdout) == []


def test_state_directory(secrets):
    """The master's caches, job returns and logs; guests' own files are scanned in the guests."""
    state = paths.state_dir()
    seen = 0
    for path in state.rglob("*"):
        if "guests" in path.relative_to(state).parts[:1] or not path.is_file():
            continue
        seen += 1
        assert secrets.found_in(path.read_bytes()) == [], path
    assert seen > 20


def test_event_bus_during_a_run(secrets, pillar, provider, on):
    """Everything that a run puts on the bus, with a certificate and a secret's file made anew."""
    on("pbx-1", "sh", "-c", "echo '; edited' >> /etc/asterisk/voip/manager.conf")
    bus, stop = [], threading.Event()
    listener = threading.Thread(target=_listen, args=(bus, stop))
    listener.start()
    try:
        job = client.apply(pillar.minions())
    finally:
        stop.set()
        listener.join()
    assert set(job.returns) == set(pillar.minions())
    assert bus, "no event was seen"
    assert secrets.found_in(json.dumps([bus, job.returns], default=repr).encode()) == []


def _listen(bus, stop):
    import salt.config
    import salt.utils.event

    options = salt.config.master_config(client.config_file())
    with salt.utils.event.get_event(
        "master", sock_dir=options["sock_dir"], opts=options, listen=True
    ) as events:
        while not stop.is_set():
            if event := events.get_event(wait=0.5, full=True):
                bus.append(event)


@pytest.mark.parametrize("host", ["sip-1", "media-1", "media-2", "pbx-1", "devstack"])
def test_guest(secrets, provider, host):
    def text(script):
        return provider.run(host, ["sh", "-c", script], timeout=120).stdout

    # tr: /proc joins arguments by NUL, and a shell variable must not swallow them.
    processes = text("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
    assert secrets.found_in(processes) == [], "in process arguments or environments"
    journal = text("journalctl --no-pager -o cat")
    assert secrets.found_in(journal) == [], "in the journal"
    readable = text(
        f"find {SEARCHED} -xdev -type f -perm -o=r -size -4M -exec cat {{}} + 2>/dev/null; true"
    )
    assert secrets.found_in(readable) == [], "in a file that others can read"
    caches = text("find /var/cache/salt /var/log -type f -exec cat {} + 2>/dev/null; true")
    assert secrets.found_in(caches) == [], "in Salt's caches or a log"


def test_outside_knows_nothing(secrets, provider):
    script = f"find {SEARCHED} /dev/shm -xdev -type f -size -4M -exec cat {{}} + 2>/dev/null; true"
    assert (
        secrets.found_in(provider.run("client-1", ["sh", "-c", script], timeout=120).stdout) == []
    )
