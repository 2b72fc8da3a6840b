"""The certificate of a functional test's OpenBao: kept, in use, shown; and a reload that fails."""

import contextlib
import subprocess

import voip_handshake

NAME = "openbao"


def pairs(host):
    """Names of the generations that are kept."""
    tls = host.etc / "tls"
    return sorted(path.name for path in tls.glob(f".{NAME}.*") if path.is_dir())


def in_use(host):
    return voip_handshake.fingerprint((host.etc / "tls" / f"{NAME}.crt").read_text())


def shown(host):
    (found,) = host.modules.voip_tls.shown(NAME).values()
    return found


@contextlib.contextmanager
def broken_reload(host):
    """The daemon's reload reaches nobody: the signal goes to a process that ignores it."""
    file = host.etc / "run" / "openbao.pid"
    pid = file.read_text()
    with subprocess.Popen(["sh", "-c", "trap '' HUP; echo; exec cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as deaf:  # fmt: skip
        deaf.stdout.readline()
        file.write_text(str(deaf.pid))
        try:
            yield
        finally:
            file.write_text(pid)
            deaf.kill()
