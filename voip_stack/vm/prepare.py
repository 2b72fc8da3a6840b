"""What the kernel tests' first minutes go into, made beforehand: `python -m voip_stack.vm.prepare`.

Gently, beside other tests. Says nothing: whoever needs what is missing makes it, and hears why not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

from voip_stack.problem import Problem
from voip_stack.vm import image as images
from voip_stack.vm.machine import MachineError

NICE = 10


def main() -> None:
    os.nice(NICE)
    # As an exception, so that nothing half-made and no machine stays.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failures = contextlib.suppress(Problem, MachineError)
    with tempfile.TemporaryDirectory(prefix="voip-") as name, failures:
        image = images.ensure(Path(name))
        for release in (image.old, image.new):
            room = Path(name) / release
            room.mkdir()
            images.frozen(image, release, room)


if __name__ == "__main__":
    main()
