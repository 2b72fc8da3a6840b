"""`python -m voip_stack.providers.lab up|status|destroy|run HOST COMMAND…`: the lab alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from voip_stack import paths
from voip_stack.master import keys
from voip_stack.pillar import load
from voip_stack.providers.lab.provider import LabProvider

_STARTED = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _STARTED:6.1f}  {text}", file=sys.stderr)


def main() -> int:
    pillar = load(paths.pillar_dir())
    lab = LabProvider(pillar)
    verb, *words = sys.argv[1:] or ["status"]
    if verb == "up":
        for problem in lab.problems():
            raise problem
        keys.accept_only(pillar.minions())
        lab.prepare_network(_say)
        lab.ensure_guests(_say)
        _say("up")
    elif verb == "destroy":
        lab.destroy(_say)
    elif verb == "settle":
        lab.settle(_say)
    elif verb == "run":
        return subprocess.run(lab.command(words[0], words[1:]), check=False).returncode
    else:
        print(json.dumps({name: guest.as_dict() for name, guest in lab.guests().items()}, indent=2))
    return 0


sys.exit(main())
