"""Ansible's way into a guest: the provider's own, without SSH.

Cheaper than SSH with ControlPersist: no encryption, no multiplexing process. Pipelining is on, so
a module costs one command.
"""

from __future__ import annotations

import subprocess

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: voip_guest
short_description: Enter a guest as its provider does
description: [Runs each command by the words that the provider gives.]
author: voip-stack
options:
  enter:
    description: The local command that the guest's command is appended to.
    type: list
    elements: str
    vars: [{name: voip_enter}]
"""


class Connection(ConnectionBase):
    """One local process for each command; nothing is kept open."""

    transport = "voip_guest"
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def _run(self, words, data):
        done = subprocess.run(
            [*self.get_option("enter"), *words], input=data or b"", capture_output=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(["/bin/sh", "-c", cmd], in_data)

    def put_file(self, in_path, out_path):
        with open(in_path, "rb") as stream:
            code, _, said = self._run(["dd", f"of={out_path}", "status=none"], stream.read())
        if code:
            raise OSError(said.decode(errors="replace"))

    def fetch_file(self, in_path, out_path):
        code, content, said = self._run(["cat", "--", in_path], None)
        if code:
            raise OSError(said.decode(errors="replace"))
        with open(out_path, "wb") as stream:
            stream.write(content)

    def close(self):
        self._connected = False
