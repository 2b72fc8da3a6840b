"""Turn a Debian with a shell into a minion: for guests that no image was made for (Lima, hosts).

Everything here is text and plans. What carries a private key goes by standard input, never in an
argument list or a template.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voip_stack.master.keys import MinionKeys

VENV = "/opt/voip-minion"
LOCK = "/etc/voip-stack/minion.lock"
UNIT = "/etc/systemd/system/salt-minion.service"

# Needs a compiler; Salt uses it for the `strtotime` Jinja filter alone.
LEFT_OUT = ("timelib",)

UNIT_TEXT = f"""\
[Unit]
Description=Salt minion of voip-stack
After=network-online.target
Wants=network-online.target
ConditionPathExists=/etc/salt/minion

[Service]
Type=notify
NotifyAccess=all
ExecStart={VENV}/bin/salt-minion
Restart=on-failure
RestartSec=5
KillMode=process
LimitNOFILE=8192

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class File:
    """A file to write in a guest, as root."""

    path: str
    text: str
    mode: str = "0644"


def lock_text(texts: Iterable[str]) -> str:
    """Lock files joined for pip, without what has no wheel and is not needed (see LEFT_OUT)."""
    kept, leaving = [], False
    for line in "\n".join(texts).splitlines():
        if line and not line[0].isspace():
            leaving = line.partition("==")[0].strip().lower() in LEFT_OUT
        if not leaving:
            kept.append(line)
    return "\n".join(kept) + "\n"


def minion_config(name: str, master: str, ports: tuple[int, int]) -> str:
    """The minion's configuration: only the master whose key is already there is believed."""
    options = {
        "id": name,
        "master": master,
        "publish_port": ports[0],
        "master_port": ports[1],
        "verify_master_pubkey_sign": False,
        "hash_type": "sha256",
        # Not asking the name service for every address at start saves seconds without one.
        "enable_fqdns_grains": False,
        # Otherwise each state run asks for 18 kinds of extensions first, most of a no-op's time.
        # `up` syncs them; after an edit by hand: ./voip salt '*' saltutil.sync_all
        "autoload_dynamic_modules": False,
        "log_level": "warning",
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in options.items())


def minion_files(
    name: str, master: str, ports: tuple[int, int], keys: MinionKeys, lock: str
) -> list[File]:
    """Every file of a minion, the lock of its packages included."""
    pki = "/etc/salt/pki/minion"
    return [
        File(LOCK, lock),
        File(UNIT, UNIT_TEXT),
        File(f"{pki}/minion.pem", keys.private.read_text(), "0400"),
        File(f"{pki}/minion.pub", keys.public.read_text()),
        File(f"{pki}/minion_master.pub", keys.master_public.read_text()),
        # Last: without the configuration, the unit's condition keeps the minion from starting.
        File("/etc/salt/minion", minion_config(name, master, ports), "0640"),
    ]


# Reads JSON [{path, text, mode}] from standard input; prints each path that it changed.
WRITE_FILES = """\
import json, os, sys
for item in json.load(sys.stdin):
    path, text, mode = item["path"], item["text"], int(item["mode"], 8)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    try:
        same = open(path).read() == text and os.stat(path).st_mode & 0o7777 == mode
    except FileNotFoundError:
        same = False
    if same:
        continue
    temporary = path + ".voip"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.chmod(temporary, mode)
    os.replace(temporary, path)
    print(path)
"""


def write_files_argv() -> list[str]:
    """The command in the guest; its standard input is `files_input`."""
    return ["python3", "-c", WRITE_FILES]


def files_input(files: list[File]) -> str:
    return json.dumps([{"path": f.path, "text": f.text, "mode": f.mode} for f in files])


def install_script() -> str:
    """Build the minion's environment from the lock file; quick when it is there already."""
    return (Path(__file__).parent / "minion.sh").read_text()


def install_argv() -> list[str]:
    """The command in the guest; its standard input is `install_script`."""
    return ["/bin/bash", "-s"]


def start_argv(changed: list[str]) -> list[str]:
    """Start the minion at boot and now; restart it when one of its files is new."""
    verb = "restart" if changed else "start"
    script = (
        "systemctl daemon-reload && systemctl enable --quiet salt-minion && "
        f"systemctl {verb} salt-minion"
    )
    return ["/bin/sh", "-c", script]


def quoted(argv: list[str]) -> str:
    """An argument list as one shell word list, for programs that join what they are given."""
    return " ".join(shlex.quote(word) for word in argv)
