"""Ask a daemon something in its own protocol: an answer, or the reason why there is none.

What each kind sends is in the file of its name (voip_probe_sip.py, ...). Standard library and a few
kilobytes: a probe runs every other second beside the minion, and every 50 ms in the repair bench.
No credential is an argument: what one needs is read from the daemon's own configuration.
"""

import time

# All at once: Salt's loader has _utils on the module path while it loads, and not later.
import voip_probe_ami
import voip_probe_door
import voip_probe_link
import voip_probe_ng
import voip_probe_redis
import voip_probe_sip
import voip_probe_sql
import voip_probe_vault
from salt.exceptions import CommandExecutionError

# Kind -> module with ask(timeout_s, **settings), which raises ValueError or OSError.
KINDS = {
    "sip": voip_probe_sip,
    "ng": voip_probe_ng,
    "ami": voip_probe_ami,
    "sql": voip_probe_sql,
    "redis": voip_probe_redis,
    "vault": voip_probe_vault,
    "door": voip_probe_door,
}


class NoAnswer(Exception):
    """The daemon said something else than that it serves, or said nothing."""


class CannotAsk(NoAnswer):
    """The probe's own files are missing: no verdict on the daemon."""


def ask(kind, timeout_s=1.0, **settings):
    """Return the milliseconds that the answer took.

    timeout_s: for each wait of the exchange. Raises NoAnswer with kind and reason.
    """
    start = time.monotonic()
    try:
        KINDS[kind].ask(timeout_s=timeout_s, **settings)
    except voip_probe_link.CannotAsk as err:
        raise CannotAsk(f"{kind}: {err}") from err
    except TimeoutError as err:
        raise NoAnswer(f"{kind}: no answer within {timeout_s:g} s") from err
    except OSError as err:  # refused, reset, a certificate that does not verify
        raise NoAnswer(f"{kind}: {err.strerror or err}") from err
    except (CommandExecutionError, ValueError, LookupError) as err:
        raise NoAnswer(f"{kind}: {err}") from err
    return round((time.monotonic() - start) * 1000, 2)


def ask_all(probes, timeout_s=1.0):
    """Return "" when each of `probes` (dicts with `kind`) is answered, else the first reason.

    A probe that cannot ask counts neither way: to restart a daemon that serves, because the probe's
    certificate is being replaced, would be the outage.
    """
    for probe in probes:
        try:
            ask(timeout_s=timeout_s, **probe)
        except CannotAsk:
            continue
        except NoAnswer as err:
            return str(err)
    return ""
