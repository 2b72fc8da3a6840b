"""The intermediate CA's rotation, from an orchestration, by hand and by the master's schedule.

What it does is in voip_stack/certificates/authority.py.
"""

import logging

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "voip_authority"


def __virtual__():
    return __virtualname__


def progress():
    """Return how far a rotation is, and the intermediate CAs."""
    return _do("progress")


def rotate(revoke_old=False):
    """Rotate the intermediate CA, or go on with a rotation that a crash interrupted.

    revoke_old: bool, the root revokes the old one at the end. Returns {"old", "new", "steps",
    "replaced"}. Raises CommandExecutionError; both CAs are good then, and the next run goes on.
    """
    return _do("rotate", log.info, revoke_old=bool(revoke_old))


def scheduled():
    """What the master's schedule runs: end what has begun, begin what is due. A failure alerts."""
    from voip_stack import deployment
    from voip_stack.certificates import authority
    from voip_stack.events import alerts
    from voip_stack.master import client
    from voip_stack.problem import Problem

    if not deployment.read().get("converged"):
        return None
    pillar = _pillar()
    client.ping(pillar.minions(), client.RESTARTED_S)
    try:
        return authority.go_on(pillar, log.info)
    except authority.Busy:
        return None
    except Problem as problem:
        alerts.raise_alert("authority/failed", "voip", str(problem))
        raise CommandExecutionError(str(problem)) from None


def _do(function, *arguments, **keywords):
    from voip_stack.certificates import authority
    from voip_stack.problem import Problem

    try:
        return getattr(authority, function)(_pillar(), *arguments, **keywords)
    except Problem as problem:
        raise CommandExecutionError(str(problem)) from None


def _pillar():
    from voip_stack import paths
    from voip_stack.pillar import load

    return load(paths.pillar_dir())
