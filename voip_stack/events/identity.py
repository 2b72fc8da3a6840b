"""What the master does about events of a host's Vault identity."""

from __future__ import annotations

from voip_stack import identity
from voip_stack.events.handlers import NothingMore


def expiring(host: str, data: NothingMore) -> None:
    """The secret_id of `host` nears its end: that one host is enrolled anew.

    Whether it is really due is asked of the host and the Vault: an event that came twice, or in
    vain, changes nothing.
    """
    identity.enrol([host])
