"""Salt's own command as somebody types it: how long until the prompt is back, the returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from voip_stack import paths
from voip_stack.pillar import Pillar
from voip_stack.problem import Problem


def host_of(pillar: Pillar, component: str) -> str:
    """The first minion that runs a component. Raises Problem when none does."""
    for name in pillar.minions():
        if component in pillar.components_of(name):
            return name
    raise Problem(f"No host runs {component}", "pillar/topology.yaml", "./voip status")


def state_apply(target: str, timeout_s: int = 600) -> tuple[float, dict[str, Any]]:
    """(seconds, {host: its return}). Problem when Salt fails or a state does."""
    return _typed(target, "state.apply", timeout_s)


def ping(target: str) -> float:
    """Seconds of a `test.ping`: what the command costs by itself. Problem as above."""
    return _typed(target, "test.ping", 60)[0]


def _typed(target: str, function: str, timeout_s: int) -> tuple[float, dict[str, Any]]:
    program = str(Path(sys.executable).with_name("salt"))
    command = [program, "-c", str(paths.master_dir()), "--out=json", "--static"]
    command += [f"--timeout={timeout_s}", target, function]
    # Compiled once, as for everybody; where this is set, each start would compile all of Salt.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept)
    seconds = time.monotonic() - started
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise Problem(f"salt '{target}' {function} failed: {said}", "", "./voip up, ./voip status")
    return seconds, json.loads(done.stdout)
