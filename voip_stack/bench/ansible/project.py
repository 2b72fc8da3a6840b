"""The directory that ansible-playbook runs in, made for one host, and its runs."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from voip_stack.bench.ansible import environment
from voip_stack.bench.ansible.playbook import Chunk, Found, Playbook, local_name, paths
from voip_stack.bench.repair import in_guest
from voip_stack.problem import Problem
from voip_stack.providers.base import Provider

# Ansible's best case: one command a module, no search for an interpreter, no wait between tasks.
SETTINGS = """\
[defaults]
gathering = explicit
interpreter_python = /usr/bin/python3
internal_poll_interval = 0.001
connection_plugins = {plugins}
retry_files_enabled = False
[connection]
pipelining = True
"""
LIMIT_S = 600


@dataclass(frozen=True)
class Run:
    """One ansible-playbook. ok and changed: tasks, as its recap counts them."""

    took_s: float
    ok: int
    changed: int


def look(provider: Provider, host: str, low: list[Chunk]) -> dict[str, Found]:
    """The files of `host` that a playbook of its lowstate declares."""
    single, trees = paths(low)
    order = {"paths": single, "trees": trees, "limit_s": 60}
    found = in_guest(provider, host, order, Path(__file__).with_name("survey.py"))
    return {
        path: Found(
            entry["mode"], entry["owner"], entry["group"], base64.b64decode(entry["content"])
        )
        for path, entry in found.items()
    }


class Project:
    """directory: empty, nobody else's; it goes when the bench ends."""

    def __init__(self, directory: Path, host: str, enter: Sequence[str], book: Playbook):
        self.directory, self.host, self.book = directory, host, book
        self.python = environment.python()
        plugins = Path(__file__).with_name("connection")
        self._write("ansible.cfg", SETTINGS.format(plugins=plugins))
        facts = {"ansible_connection": "voip_guest", "voip_enter": list(enter)}
        self._write("inventory.yml", yaml.safe_dump({"all": {"hosts": {host: facts}}}))
        files = directory / "files"
        files.mkdir()
        for path, content in book.files.items():
            (files / local_name(path)).write_bytes(content)
        for gathers in (False, True):
            play = {"hosts": host, "gather_facts": gathers, "tasks": book.tasks}
            self._write(_name(gathers), yaml.safe_dump([play], sort_keys=False))

    def run(self, *, facts: bool, check: bool = False) -> Run:
        """Run the playbook. facts: whether it gathers them first. Problem when a task failed."""
        words = ["-i", "inventory.yml", *(["--check"] if check else []), _name(facts)]
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        own = {"ANSIBLE_CONFIG": "ansible.cfg", "ANSIBLE_HOME": str(self.directory / "home")}
        started = time.monotonic()
        done = subprocess.run(
            [str(self.python), "-c", environment.PLAYBOOK, *words],
            cwd=self.directory,
            env={**kept, **own, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        took = time.monotonic() - started
        recap = re.search(rf"^{re.escape(self.host)} .*ok=(\d+) +changed=(\d+) ", done.stdout, re.M)
        if done.returncode or recap is None:
            said = "\n".join(_failures(done.stdout) or [(done.stderr or done.stdout)[-800:]])
            raise Problem(f"ansible-playbook failed: {said}", "bench salt")
        return Run(took, int(recap[1]), int(recap[2]))

    def require_converged(self) -> int:
        """Tasks of the playbook. Problem when it would change anything: not the same resources."""
        tried = self.run(facts=False, check=True)
        if tried.changed:
            raise Problem(
                f"The playbook of {self.host} would change {tried.changed} of {tried.ok} tasks",
                "voip_stack/bench/ansible/playbook.py",
                f"./voip salt {self.host} state.apply, then again: the host may not have converged",
            )
        return tried.ok

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)


def _name(facts: bool) -> str:
    return "facts.yml" if facts else "site.yml"


def _failures(output: str) -> list[str]:
    """What ansible-playbook says of failed tasks."""
    return [line[:500] for line in output.splitlines() if line.startswith(("fatal:", "failed:"))]
