"""A real PostgreSQL server in a temporary directory, for the functional tests."""

import os
import pathlib
import pwd
import subprocess

import pytest

SERVER_USER = "postgres"


def binaries():
    """The directory of the newest PostgreSQL here; without one the test fails, it never skips."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.fail("no PostgreSQL server here: apt-get install postgresql", pytrace=False)
    return found[-1].parent


class Server:
    """Listens on a unix socket in `directory` and on loopback, with our pg_hba.conf's root map."""

    def __init__(self, directory: pathlib.Path, port: int):
        self.directory = directory
        self.port = port
        self._data = directory / "data"
        if os.geteuid() == 0:  # the server refuses to run as root
            os.chown(directory, pwd.getpwnam(SERVER_USER).pw_uid, -1)

    def start(self):
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=peer", "--no-sync")
        me = pwd.getpwuid(os.geteuid()).pw_name
        (self._data / "pg_ident.conf").write_text(f"local_root {me} postgres\n")
        (self._data / "pg_hba.conf").write_text(
            "local all postgres peer map=local_root\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        self.restart()
        return self

    def restart(self):
        options = f"-k {self.directory} -p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run(
            "pg_ctl", "-D", self._data, "-w", "-l", self.directory / "log", "-o", options, "start"
        )

    def serve_tls(self, chain, key):
        """Offer TLS from now on: what a reload reads."""
        for name, text, mode in (("server.crt", chain, 0o644), ("server.key", key, 0o600)):
            path = self._data / name
            path.write_text(text)
            path.chmod(mode)
            if os.geteuid() == 0:
                os.chown(path, pwd.getpwnam(SERVER_USER).pw_uid, -1)
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.write("ssl = on\n")
        self._run("pg_ctl", "-D", self._data, "-w", "reload")

    def stop(self):
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def log(self):
        return (self.directory / "log").read_text()

    def _run(self, program, *arguments):
        as_user = ["runuser", "-u", SERVER_USER, "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_user, str(binaries() / program), *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
