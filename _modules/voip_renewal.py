"""Renew one certificate of this host because the master says so (salt/orchestrate/renew.sls); tell
it that one is due.

The same code as the state's, without a state run: no pillar and no states to compile.
"""

import time

import voip_x509
from salt.exceptions import CommandExecutionError
from voip_errors import Unavailable

__virtualname__ = "voip_renewal"


def __virtual__():
    return __virtualname__


def renew(name, forced=False):
    """Renew the certificate of component `name`, if it is due, or by force. Returns a dict.

    outcome: "renewed"; "proved" (an interrupted renewal was ended); "good" (nothing to do); or
    "failed", and the job fails: `cause` is then "vault" where that does not answer or is sealed,
    else "host". why: reason, in words. time: when that was so, epoch of this host. Of a
    certificate that was renewed, also what voip_pki.renew returns of it.

    CLI Example:

    .. code-block:: bash

        salt sip-1 voip_renewal.renew kamailio forced=True
    """
    try:
        done = _done(name, forced)
    except CommandExecutionError as err:
        __context__["retcode"] = 1  # the job has failed, and still returns data
        # What a daemon answers is told by voip_pki in a class of no meaning: only the Vault's is.
        cause = "vault" if isinstance(err, Unavailable) else "host"
        done = {"outcome": "failed", "cause": cause, "why": str(err)}
    return done | {"time": time.time()}


def tell(name):
    """Tell the master now that the certificate of `name` is due, as the beacon would. Returns True.

    The master has this host look again whether it is so: see `renew`.

    CLI Example:

    .. code-block:: bash

        salt sip-1 voip_renewal.tell kamailio
    """
    with open(f"{__salt__['voip_pki.directory']()}/{name}.crt", encoding="utf-8") as file:
        (_, end), _ = voip_x509.life(file.read())
    now = time.time()
    return __salt__["voip_event.send"](
        "certificate/expiring", name=name, why="ends", at=now, left_s=round(end - now, 1)
    )


def _done(name, forced):
    made = __salt__["voip_pki.renew"](name, due_only=not forced)
    if made:
        return {"outcome": "renewed", "why": made.pop("reason") or "ordered"} | made
    if __salt__["voip_pki.is_unproven"](name):
        proof_s = __salt__["voip_pki.prove"](name)
        return {"outcome": "proved", "why": "its daemon had not shown it", "proof_s": proof_s}
    return {"outcome": "good", "why": "it is good for a while and in use"}
