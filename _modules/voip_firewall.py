"""Load, compare and count the host's nftables rules (table `inet voip` only).

Root on the minion; no Vault access. Tables of others (fail2ban, RTPEngine) are never touched.
"""

import os
import socket
import subprocess
import tempfile

import salt.utils.path
import voip_nft
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_firewall"

_TABLE = (voip_nft.FAMILY, voip_nft.TABLE)
_TIMEOUT_S = 10
_LISTING = ("--stateless", "--terse", "list", "table")


def __virtual__():
    # The package may come later in the same run: the functions say so when they are called.
    return __virtualname__


def _run(argv, text=None):
    """Run one command without a shell; `cmd.run` costs three times as much on the no-op path."""
    try:
        return subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{argv[0]}: {err}") from err


def _nft():
    found = salt.utils.path.which("nft") or salt.utils.path.which("/usr/sbin/nft")
    if not found:
        raise CommandExecutionError("nft is not installed (package nftables)")
    return found


def _failed(what, done):
    reason = (done.stderr or done.stdout).strip().splitlines()
    raise CommandExecutionError(f"{what}: {reason[0] if reason else f'exit {done.returncode}'}")


def ruleset(**declared):
    """Return the rules file for what pillar declares. Arguments: see `voip_nft.ruleset`."""
    return voip_nft.ruleset(**declared)


def live(table=voip_nft.TABLE):
    """Return nft's own listing of the loaded table, "" when there is none.

    Without counters, and without the sources whose connections are counted.
    """
    done = _run([_nft(), *_LISTING, voip_nft.FAMILY, table])
    if done.returncode == 0:
        return done.stdout
    if "No such file or directory" in done.stderr:
        return ""
    return _failed("nft list table", done)


def expected(text, table=voip_nft.TABLE):
    """Return the listing that `live` would give once text is loaded.

    nft loads it into a new network namespace that ends with the process, so the kernel checks the
    rules completely and nothing of the host changes. Raises CommandExecutionError when refused.
    """
    listing = " ".join([_nft(), *_LISTING, voip_nft.FAMILY, table])
    script = f"{_nft()} -f - && exec {listing}"
    done = _run(["unshare", "--net", "/bin/sh", "-c", script], text)
    return done.stdout if done.returncode == 0 else _failed("rules refused", done)


def load(text):
    """Replace the table by text in one transaction."""
    done = _run([_nft(), "-f", "-"], text)
    if done.returncode:
        _failed("nft -f", done)


def unload():
    """Remove the table; an absent one is fine."""
    if live():
        done = _run([_nft(), "delete", "table", *_TABLE])
        if done.returncode:
            _failed("nft delete table", done)


def hold(ports, timeout_s=10):
    """Have new TCP connections to these ports of this host wait until `release`.

    For a daemon that closes a listener and opens it again: whoever connects in that moment comes
    1 s later, instead of being reset. timeout_s: they pass after it in any case.
    """
    done = _run([_nft(), "-f", "-"], voip_nft.hold(ports, timeout_s))
    if done.returncode:
        _failed("nft -f", done)


def release():
    """End `hold`; fine when there is none."""
    done = _run([_nft(), "delete", "table", voip_nft.FAMILY, voip_nft.HOLD_TABLE])
    if done.returncode and "No such file or directory" not in done.stderr:
        _failed("nft delete table", done)


def reaches(address, port, timeout_s=3):
    """Return True when a new TCP connection to address:port opens."""
    try:
        with socket.create_connection((address, int(port)), timeout=timeout_s):
            return True
    except OSError:
        return False


def swap(text, must_reach=()):
    """Load text, and go back to the rules that were there when a master became unreachable.

    must_reach: [(address, port)]. Those that answered before the swap must answer after it.
    Raises CommandExecutionError, the old rules loaded again, otherwise.
    """
    before = live()
    answered = [end for end in must_reach if reaches(*end)]
    load(text)
    lost = [end for end in answered if not reaches(*end)]
    if not lost:
        return
    unload()
    if before:
        load(before)
    ends = ", ".join(f"{address}:{port}" for address, port in lost)
    raise CommandExecutionError(f"the rules cut the host from {ends}: the former ones are back")


def write(path, text):
    """Write the rules file atomically, 0640 root."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".voip-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o640)
        os.replace(temporary, path)
    except OSError as err:
        os.unlink(temporary)
        raise CommandExecutionError(f"{path}: {err}") from err


def saved(path):
    """Return the rules file's text, "" when there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def drops():
    """Return the packets each chain dropped or refused since the rules were loaded.

    CLI Example:

    .. code-block:: bash

        salt '*' voip_firewall.drops
    """
    done = _run([_nft(), "list", "table", *_TABLE])
    if done.returncode:
        _failed("nft list table", done)
    return voip_nft.counters(done.stdout)
