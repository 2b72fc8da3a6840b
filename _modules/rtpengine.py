"""Ask RTPEngine over its ng control protocol (UDP), from a media host or from the SIP tier.

Other hosts get no answer: their packets are dropped by the media hosts' firewall. Needs no Vault
access. `host` names a relay by the host that it is at home on, wherever it is just now; without it
a media host asks the relays that are on it, any other host asks all.
"""

import os
import secrets
import socket
import subprocess
import time

import voip_ng
import voip_options
import voip_relays
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "rtpengine"

# For its version or its options: a host that starts everything at once needs seconds for that.
_SAID_S = 30
_BINARY = "/usr/bin/rtpengine"
_TIMEOUT_S = 2.0
_LARGEST = 65535


def __virtual__():
    return __virtualname__


def _voip():
    voip = __pillar__.get("voip", {})
    if not voip.get("relays"):
        raise SaltInvocationError("pillar names no media host")
    return voip


def _targets(host):
    voip = _voip()
    port = voip["ports"]["rtpengine"]["ng"]
    wanted = voip["relays"]
    if host is not None:
        wanted = [relay for relay in wanted if relay["name"] == host]
        if not wanted:
            raise SaltInvocationError(f"{host} is no media host in pillar")
    elif "media" in voip["self"]["roles"]:
        wanted = [relay for relay in wanted if voip_relays.is_here(relay["internal"])]
    return [(relay["internal"], port) for relay in wanted]


def _ask(target, command, **arguments):
    """Send one request and return the reply.

    Sent twice within the timeout: a repeated cookie makes RTPEngine repeat its former answer, so a
    lost datagram costs no wrong result.
    """
    cookie = secrets.token_hex(8)
    message = voip_ng.request(cookie, command, **arguments)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        try:
            link.connect(target)
            for _ in range(2):
                link.send(message)
                answer = _receive(link, cookie, time.monotonic() + _TIMEOUT_S / 2)
                if answer is not None:
                    return answer
        except OSError as err:
            raise CommandExecutionError(f"RTPEngine at {target[0]}:{target[1]}: {err}") from err
    raise CommandExecutionError(f"RTPEngine at {target[0]}:{target[1]} does not answer")


def _receive(link, cookie, deadline):
    while (left := deadline - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            answer = voip_ng.reply(link.recv(_LARGEST), cookie)
        except TimeoutError:
            return None
        if answer is not None:
            return answer
    return None


def _first(host, command, **arguments):
    """Ask the relays in turn until one knows the call."""
    error = CommandExecutionError("no relay's calls are on this host just now")
    for target in _targets(host):
        try:
            return _ask(target, command, **arguments)
        except CommandExecutionError as err:
            # Unknown call is the better answer than a dead neighbour.
            error = error if isinstance(error, voip_ng.NoSuchCall) else err
    raise error


def ping(host=None):
    """Return {address: milliseconds} of the relays that answer, raise when one does not.

    CLI Example:

    .. code-block:: bash

        salt sip-1 rtpengine.ping
    """
    found = {}
    for target in _targets(host):
        start = time.monotonic()
        if _ask(target, "ping").get("result") != "pong":
            raise CommandExecutionError(f"RTPEngine at {target[0]} answered something else")
        found[target[0]] = round((time.monotonic() - start) * 1000, 2)
    return found


def calls(host=None, limit=1000):
    """Return the Call-IDs of the sessions in memory, ended ones included until they are deleted."""
    return [
        call
        for target in _targets(host)
        for call in _ask(target, "list", limit=int(limit)).get("calls", [])
    ]


def query(call_id, host=None):
    """Return all that RTPEngine knows about one call (see its docs). Raises when it is unknown."""
    answer = _first(host, "query", call_id=call_id)
    answer.pop("result", None)
    return answer


def legs(call_id, host=None):
    """Return the RTP streams of one call with SRTP suite and counters (see `voip_ng.legs`).

    CLI Example:

    .. code-block:: bash

        salt media-1 rtpengine.legs 3f1c2a@198.18.64.100
    """
    names = {}
    for relay in _voip()["relays"]:
        names |= {relay[net]: net for net in ("internal", "external") if net in relay}
        names |= {address: net for net, address in relay.get("ipv6", {}).items()}
    return voip_ng.legs(query(call_id, host), names)


def loss(call_id, host=None):
    """Return the loss that the parties' RTCP reports told, by SSRC (see `voip_ng.loss`)."""
    return voip_ng.loss(query(call_id, host))


def start_recording(call_id, host=None):
    """Record this call from now on; who called whom is not known here. Raises NoSuchCall."""
    _first(host, "start recording", call_id=call_id)
    return True


def statistics(host=None):
    """Return {address: {current, total}} counters of each media host."""
    found = {}
    for target in _targets(host):
        answer = _ask(target, "statistics")["statistics"]
        found[target[0]] = {
            "current": answer["currentstatistics"],
            "total": answer["totalstatistics"],
        }
    return found


def forwarding():
    """Return {"mode", "reason", "problem"}: whether RTPEngine forwards in kernel or user space.

    Kernel only when packets can really go that way: a module that is loaded is not enough (see
    `rtpengine_module.status`). problem: "" where the host could not do better.
    """
    module = __salt__["rtpengine_module.status"]()
    mode = "kernel" if module["is_forwarding"] else "userspace"
    reason = module["reason"] or "xt_RTPENGINE has the table"
    return {"mode": mode, "reason": reason, "problem": module["problem"]}


def version():
    """Return the installed daemon's version. Raises when it is not installed or does not start."""
    return _said("--version").split("Version:")[-1].strip()


def _said(option):
    """What the daemon's binary writes when it gets only this option."""
    try:
        done = subprocess.run(
            [_BINARY, option], capture_output=True, text=True, timeout=_SAID_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise CommandExecutionError(f"{_BINARY}: {err}") from err
    return done.stdout + done.stderr


def status():
    """Return mode, reason, version and relays of this host, and the counters of these together.

    relays: those whose calls are here now. uptime_s: of the one that started last.

    CLI Example:

    .. code-block:: bash

        salt media-1 rtpengine.status
    """
    counters = list(statistics().values())
    return forwarding() | {
        "version": version(),
        "relays": [item["name"] for item in voip_relays.here(_voip())],
        "sessions": sum(int(item["current"]["sessionsown"]) for item in counters),
        "sessions_total": sum(int(item["total"]["managedsessions"]) for item in counters),
        "rejected": sum(int(item["total"]["rejectedsessions"]) for item in counters),
        "uptime_s": min((int(item["total"]["uptime"]) for item in counters), default=0),
    }


def known_options():
    """Return the long options that the installed daemon knows: what its file may contain."""
    return voip_options.long_options(_said("--help"))


def check_config(stage):
    """Start the daemon on the staged directory, out of the way of the running one.

    RTPEngine has no check mode, ignores options that it does not know, and starts with ports in
    the wrong order. So: names against its own `--help`, then a real start as its own user in a
    network namespace that ends with it, until it tells systemd's protocol that it is ready.
    Returns None. Raises CommandExecutionError with the daemon's own message.
    """
    path = os.path.join(stage, "rtpengine.conf")
    with open(path, encoding="utf-8") as file:
        options = voip_options.ini_options(file.read())
    unknown = sorted(set(options) - known_options())
    if unknown:
        raise CommandExecutionError(f"rtpengine.conf: unknown option {', '.join(unknown)}")
    if int(options["port-min"]) >= int(options["port-max"]):
        raise CommandExecutionError("rtpengine.conf: port-min is not below port-max")
    relays = voip_relays.instances(_voip())
    sets = [relay[key] for relay in relays for key in ("addresses", "ipv6")]
    addresses = [address for found in sets for address in found.values()]
    argv = [_BINARY, "--foreground", "--log-stderr", f"--config-file={path}"]
    __salt__["voip_config.trial"](argv, user="rtpengine", addresses=addresses)
