"""What the master's remediation asks and does on a host: look, gather evidence, restart.

A service is named by its component in pillar, never by a unit: nothing else can be touched.
"""

import time

import voip_probe
import voip_process
import voip_scrub
import voip_unit
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "voip_repair"

_PROPERTIES = (
    "LoadState,ActiveState,SubState,Result,NRestarts,ControlGroup,StateChangeTimestampMonotonic"
)
_TIMEOUT_S = 90
_GENTLE_S = 3
# Before a process that runs is believed to hang, it is asked more patiently than the beacon asks.
_PATIENT = {"tries": 2, "timeout_s": 1.5}


def __virtual__():
    return __virtualname__


def unit(service):
    """Return the systemd unit of one of this host's services."""
    if service not in __pillar__.get("voip", {}).get("probes", {}):
        raise SaltInvocationError(f"{service} is no service of this host that is probed")
    return __salt__["voip_status.unit"](service)


def look(service, patient=True):
    """Return what is to be known before anything is done.

    Keys: load, active, sub, result (systemd's words), for_s (seconds in that state), restarts,
    stopped (processes under SIGSTOP), what ("" when the service answers, else why not), applying
    (a state run is at work on this host).

    CLI Example: salt sip-1 voip_repair.look kamailio
    """
    name = unit(service)
    facts = _facts(name)
    what = probe(service)
    if what and patient and facts["active"] == "active" and not facts["stopped"]:
        for _ in range(_PATIENT["tries"]):
            if not (what := probe(service, _PATIENT["timeout_s"])):
                break
    return facts | {"what": what, "applying": bool(__salt__["saltutil.is_running"]("state.*"))}


def probe(service, timeout_s=1.0):
    """Return "" when the service answers its protocol, else why not."""
    unit(service)
    return voip_probe.ask_all(__pillar__["voip"]["probes"][service], timeout_s)


def answers(service, timeout_s=20):
    """Wait until the service answers. Returns the seconds it took; raises when it does not."""
    start = time.monotonic()
    while what := probe(service):
        if time.monotonic() - start > timeout_s:
            raise CommandExecutionError(f"{service} does not answer: {what}")
        time.sleep(0.1)
    return round(time.monotonic() - start, 2)


def evidence(service, lines=50):
    """Return the unit's status and last journal lines, scrubbed of what could be a secret."""
    name = unit(service)
    status = _output("systemctl", "status", "--no-pager", "--full", "--lines=0", name)
    journal = ["--unit", name, "--lines", str(int(lines)), "--output", "short-iso", "--no-pager"]
    return voip_scrub.scrub(f"{status}\n{_output('journalctl', *journal)}")


def restart(service, stopped=False):
    """Have the unit's processes gone and start it. Returns {"done": list of words, "problem": str}.

    stopped: they are under SIGSTOP and obey nothing but SIGKILL. Otherwise they get a few seconds
    to end by themselves.
    """
    name = unit(service)
    done = []
    if not stopped:
        try:
            _systemctl("stop", name, timeout_s=_GENTLE_S)
            done.append("stopped")
        except CommandExecutionError:
            stopped = True
    if stopped and _facts(name)["processes"]:
        _output("systemctl", "kill", "--signal=KILL", name)
        done.append("killed")
    try:
        _systemctl("restart", name, timeout_s=_TIMEOUT_S)
    except CommandExecutionError as err:
        return {"done": done, "problem": str(err)}  # what was done is told all the same
    return {"done": [*done, "started"], "problem": ""}


def _facts(name):
    facts = voip_unit.state(
        _output("systemctl", "show", "--property", _PROPERTIES, name), time.monotonic()
    )
    processes = voip_unit.processes(facts.pop("group"))
    stopped = [pid for pid, state in processes.items() if state in "Tt"]
    return facts | {"processes": len(processes), "stopped": len(stopped)}


def _systemctl(*arguments, timeout_s):
    voip_process.must(["systemctl", *arguments], f"systemctl {arguments[0]}", timeout_s)


def _output(*argv):
    done = voip_process.run(argv, timeout_s=20)
    return done.stdout or done.stderr
