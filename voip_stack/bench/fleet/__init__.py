"""A master with many simulated minions, beside the lab and without it: what the master can bear.

trial    the whole of it, a process of its own: master, minions, measurement
minions  the simulated minions of one process
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from voip_stack import paths
from voip_stack.problem import Problem

LIMIT_S = 900
END_S = 60


def measure(count: int, events: int, rounds: int) -> dict[str, Any]:
    """Run a trial of `count` minions, each with `events` events of each kind; see trial.run.

    Everything it makes is in a directory of its own, and gone afterwards.
    """
    order = {"count": count, "events": events, "rounds": rounds}
    with tempfile.TemporaryDirectory(prefix="voip-fleet-") as directory:
        trial = subprocess.Popen(
            [sys.executable, "-P", "-m", "voip_stack.bench.fleet.trial", json.dumps(order)],
            cwd=paths.checkout(),
            # Its own state directory: never the lab's master.
            env={**os.environ, "VOIP_STATE_DIR": directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            said, _ = trial.communicate(timeout=LIMIT_S)
        except BaseException as error:
            trial.terminate()  # it stops its master before it ends
            trial.wait(timeout=END_S)
            if isinstance(error, subprocess.TimeoutExpired):
                what = f"{count} simulated minions took longer than {LIMIT_S} s"
                raise Problem(what, "bench salt", "fewer: --minions") from error
            raise
    if trial.returncode:
        raise Problem("The trial with simulated minions failed", "see above", "fewer: --minions")
    return dict(json.loads(said))
