"""Have daemons read their certificates again, and prove by a handshake that they show them.

Which function reloads a daemon and where it listens is in pillar: `reload`, `listeners`,
`negotiation` of each certificate.
"""

import time

import voip_handshake
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_tls"

# From the end of the reload to the proof. Milliseconds; a loaded machine takes its time.
PROOF_S = 5.0
_PAUSE_S = 0.05
_DOWN = "nothing listens"


def __virtual__():
    return __virtualname__


def shown(name, wanted=None, ca_file=None):
    """Return {"ADDRESS:PORT": SHA-256 fingerprint, or why there is none} of component `name`.

    ca_file: as of voip_handshake.shown.

    CLI Example:

    .. code-block:: bash

        salt sip-1 voip_tls.shown kamailio
    """
    wanted = wanted or __salt__["voip_pki.settings"](name)
    directory = __salt__["voip_pki.directory"]()
    pair = (f"{directory}/{name}.crt", f"{directory}/{name}.key")
    return {
        f"{address}:{port}": _shown(address, port, wanted.get("negotiation"), pair, ca_file)
        for address, port in wanted["listeners"]
    }


def chained(name, wanted=None):
    """Tell whether every listener of `name` shows its pair with a chain that the root verifies.

    Returns {"ADDRESS:PORT": what is wrong}, {} when all do. The root is all that is trusted, so
    the intermediate CA must be in the handshake.

    CLI Example:

    .. code-block:: bash

        salt sip-1 voip_tls.chained kamailio
    """
    wanted = wanted or __salt__["voip_pki.settings"](name)
    expected = __salt__["voip_pki.fingerprint"](name)
    root = f"{__salt__['voip_pki.directory']()}/ca.crt"
    found = shown(name, wanted, root)
    return {where: _told(item) for where, item in found.items() if item != expected}


def is_up(name, wanted=None):
    """Tell whether anything listens where component `name` should."""
    return any(found != _DOWN for found in shown(name, wanted).values())


def reload(name, wanted=None):
    """Have the daemon of component `name` read its certificate and key again. Returns True."""
    wanted = wanted or __salt__["voip_pki.settings"](name)
    __salt__[wanted["reload"]]()
    return True


def prove(name, fingerprint, wanted=None):
    """Reload the daemon and wait until every listener shows `fingerprint`. Returns the seconds.

    One that the daemon has not opened, because its address is new, is not waited for: it comes with
    the daemon's next start. Raises CommandExecutionError that says what is shown instead.
    """
    wanted = wanted or __salt__["voip_pki.settings"](name)
    opened = {where for where, item in shown(name, wanted).items() if item != _DOWN}
    started = time.monotonic()
    reload(name, wanted)
    deadline = time.monotonic() + PROOF_S
    while True:
        found = shown(name, wanted)
        asked = {where: item for where, item in found.items() if where in opened or not opened}
        wrong = {where: item for where, item in asked.items() if item != fingerprint}
        if not wrong:
            return round(time.monotonic() - started, 3)
        if time.monotonic() > deadline:
            listed = "; ".join(f"{where}: {_told(item)}" for where, item in wrong.items())
            raise CommandExecutionError(f"not shown within {PROOF_S:.0f} s ({listed})")
        time.sleep(_PAUSE_S)


def _shown(address, port, negotiation, pair, ca_file=None):
    try:
        return voip_handshake.shown(address, port, 1.0, negotiation, pair, ca_file)
    except ConnectionRefusedError:
        return _DOWN
    except OSError as err:
        return f"no handshake ({type(err).__name__})"


def _told(found):
    return found if " " in found else f"shows {found[:16]}…"
