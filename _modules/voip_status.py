"""What `./voip status` asks of a host: its components, their units, versions and sources.

One job for everything, so that a status of all hosts costs one round trip.
"""

import subprocess

import voip_relays
from salt.exceptions import CommandExecutionError

__virtualname__ = "voip_status"

# Units whose name is not the component's.
UNITS = {
    "location-link": "voip-location-link",
    "redis": "redis-server",
    "callstore": "redis-server@calls",
    "rtpengine": "rtpengine-daemon",
    "webphone": "voip-webphone",
}


def __virtual__():
    return __virtualname__


def report():
    """Return {component: {unit, active, version, minimum, safe, why, is_safe, source, note,
    problem}}.

    active: systemd's word (active, failed, ...), or standby. version: None when not installed.
    is_safe: None without a version. source: where the package was taken from. note: what an
    operator should know (RTPEngine without its kernel module). problem: why it is not well although
    its unit may be active (a version that is refused, a sealed Vault), "" when it is.

    CLI Example: salt '*' voip_status.report
    """
    names = __pillar__.get("voip", {}).get("self", {}).get("components", [])
    versions = __salt__["voip_package.status"]()
    active = _active([unit(name) for name in names])
    if "rtpengine" in names:
        active[unit("rtpengine")] = _relay_state(active[unit("rtpengine")])
    return {name: _component(name, versions.get(name, {}), active[unit(name)]) for name in names}


def _relay_state(word):
    """ "standby" where the own relay's addresses are at another host: the unit has to wait."""
    own = voip_relays.instances(__pillar__["voip"])[0]
    here = voip_relays.is_here(own["addresses"]["internal"])
    return "standby" if own["floats"] and not here and word != "failed" else word


def unit(name):
    """The systemd unit of a component."""
    if name == "postgresql":  # Debian's postgresql.service only groups the clusters
        return f"postgresql@{__pillar__['voip']['postgresql']['version']}-main.service"
    return f"{UNITS.get(name, name)}.service"


def _component(name, package, active):
    version = package.get("version") or None
    note, problem = _look(name)
    return {
        "unit": unit(name),
        "active": active,
        "version": version,
        "minimum": package.get("minimum") or None,
        "safe": package.get("safe") or None,
        "why": package.get("why") or None,
        "is_safe": package.get("ok") if version else None,
        "source": package.get("source"),
        "note": note,
        "problem": (package.get("problem", "") if version else "") or problem,
    }


def _active(units):
    """{unit: systemd's word} by one call."""
    if not units:
        return {}
    answer = subprocess.run(
        ["systemctl", "is-active", *units], capture_output=True, text=True, check=False
    )
    words = answer.stdout.split()
    return dict(zip(units, words + ["unknown"] * (len(units) - len(words)), strict=False))


def _look(name):
    """(note, problem) of a component that has more to tell than its unit."""
    try:
        if name == "rtpengine":
            forwarding = __salt__["rtpengine.forwarding"]()
            relays = ", ".join(item["name"] for item in voip_relays.here(__pillar__["voip"]))
            note = f"{forwarding['mode']}: {forwarding['reason']}; relays: {relays or 'none'}"
            return note, forwarding["problem"]
        if name == "openbao":
            return "", "sealed" if __salt__["voip_vault.status"]()["sealed"] else ""
    except (CommandExecutionError, KeyError) as err:
        return "", str(err)
    return "", ""
