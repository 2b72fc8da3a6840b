"""What `./voip status` asks of a host: its components, their units, versions and sources.

One job for everything, so that a status of all hosts costs one round trip.
"""

import subprocess

import voip_version

__virtualname__ = "voip_status"

# Component -> (unit, package that carries the version). The unit's name is the package's own.
COMPONENTS = {
    "asterisk": ("asterisk.service", "asterisk"),
    "kamailio": ("kamailio.service", "kamailio"),
    "openbao": ("openbao.service", None),
    "pgbouncer": ("pgbouncer.service", "pgbouncer"),
    "postgresql": ("postgresql.service", "postgresql-17"),
    "redis": ("redis-server.service", "redis-server"),
    "rtpengine": ("rtpengine-daemon.service", "rtpengine-daemon"),
}


def __virtual__():
    return __virtualname__


def report():
    """Return {component: {unit, active, version, minimum, safe, why, source, note}}.

    active: systemd's word (active, failed, ...). version: None when not installed. source: where
    the package was taken from. note: what an operator should know (RTPEngine without its kernel
    module, a component that no source has).
    """
    voip = __pillar__.get("voip", {})
    names = voip.get("self", {}).get("components", [])
    active = _active([_unit(name) for name in names])
    found = {}
    for name in names:
        floor = voip.get("versions", {}).get(name, {})
        choice = voip.get("packages", {}).get(name, {})
        found[name] = {
            "unit": _unit(name),
            "active": active[_unit(name)],
            "version": _version(name),
            "minimum": floor.get("minimum"),
            "safe": floor.get("safe"),
            "why": floor.get("why"),
            "source": choice.get("source"),
            "note": _note(name),
            "is_safe": None,
        }
        version = found[name]["version"]
        if version and floor:
            found[name]["safe"] = voip_version.lowest_safe(version, floor)
            found[name]["is_safe"] = voip_version.refusal(name, version, floor) is None
    return found


def _unit(name):
    return COMPONENTS.get(name, (f"{name}.service", name))[0]


def _active(units):
    """{unit: systemd's word} by one call."""
    if not units:
        return {}
    answer = subprocess.run(
        ["systemctl", "is-active", *units], capture_output=True, text=True, check=False
    )
    words = answer.stdout.split()
    return dict(zip(units, words + ["unknown"] * (len(units) - len(words)), strict=False))


def _version(name):
    package = COMPONENTS.get(name, (None, name))[1]
    if package is None:
        return _own_version(name)
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    status, _, version = answer.stdout.partition(" ")
    return version if status == "installed" else None


def _own_version(name):
    """The version of what comes in no Debian package: asked of its own module."""
    function = f"{name}.version"
    return __salt__[function]() if function in __salt__ else None


def _note(name):
    function = f"{name}.status_note"
    return __salt__[function]() if function in __salt__ else ""
