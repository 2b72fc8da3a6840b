"""Salt's salt-master, by `python -m voip_stack.master.salt_master`, with two things put right.

A worker loads its modules in a thread while its loop authenticates minions, and both have Python
forget what it knows of paths: importlib.invalidate_caches raises KeyError in one when the other
has dropped an entry first. The worker then stays, and answers nothing for as long as the master
runs: every third job fails (saltstack/salt#61734, seen with 3008.4 once in some fifty starts).

The reactor prints what its runners return, to the file that has the master's first words, and loads
Salt's outputters for each: a fifth of what an event costs.
"""

from __future__ import annotations

import importlib
from typing import Any

_invalidate = importlib.invalidate_caches


def invalidate_caches() -> None:
    """What another thread has dropped meanwhile was to be dropped: go on with the rest.

    No lock: the master forks at any time, and its child would wait for one that nobody holds.
    """
    while True:
        try:
            return _invalidate()
        except (KeyError, RuntimeError):  # RuntimeError: the table changed its size meanwhile
            continue


def silence_reactor() -> None:
    """Have the reactor's runners print nothing. `quiet` in the configuration would be every
    command's."""
    from salt.utils import reactor

    class Silent(reactor.ReactWrap):
        def __init__(self, opts: dict[str, Any]):
            super().__init__({**opts, "quiet": True})

    reactor.ReactWrap = Silent


if __name__ == "__main__":
    importlib.invalidate_caches = invalidate_caches
    silence_reactor()
    from salt.scripts import salt_master

    salt_master()
