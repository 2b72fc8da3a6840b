"""Ask RTPEngine over its ng control protocol (UDP), from media-1 itself or from the SIP tier.

Other hosts get no answer: their packets are dropped by media-1's firewall. Needs no Vault access.
"""

import os
import secrets
import socket
import subprocess
import time

import voip_ng
import voip_options
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "rtpengine"

_BINARY = "/usr/bin/rtpengine"
_TIMEOUT_S = 2.0
_LARGEST = 65535


def __virtual__():
    return __virtualname__


def _voip():
    voip = __pillar__.get("voip", {})
    if not voip.get("peers", {}).get("media"):
        raise SaltInvocationError("pillar names no media host")
    return voip


def _targets(host):
    voip = _voip()
    port = voip["ports"]["rtpengine"]["ng"]
    if host is None and "media" in voip["self"]["roles"]:
        return [(voip["self"]["addresses"]["internal"], port)]
    if host is None:
        return [(address, port) for address in voip["peers"]["media"]]
    if "media" not in voip["hosts"].get(host, {}).get("roles", []):
        raise SaltInvocationError(f"{host} is no media host in pillar")
    return [(voip["hosts"][host]["internal"], port)]


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
    """Ask the media hosts in turn until one knows the call."""
    error = None
    for target in _targets(host):
        try:
            return _ask(target, command, **arguments)
        except CommandExecutionError as err:
            # Unknown call is the better answer than a dead neighbour.
            error = err if error is None or isinstance(err, voip_ng.NoSuchCall) else error
    raise error


def ping(host=None):
    """Return {address: milliseconds} of the media hosts that answer, raise when one does not.

    host: one media host's name; default: this host, or every media host when it is not one.

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
    for entry in _voip()["hosts"].values():
        if "media" in entry["roles"]:
            names |= {entry[net]: net for net in ("internal", "external") if net in entry}
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
            [_BINARY, option], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise CommandExecutionError(f"{_BINARY}: {err}") from err
    return done.stdout + done.stderr


def status():
    """Return mode, reason, version, sessions and uptime_s of the daemon on this host.

    CLI Example:

    .. code-block:: bash

        salt media-1 rtpengine.status
    """
    ((_, counters),) = statistics(__grains__["id"]).items()
    return forwarding() | {
        "version": version(),
        "sessions": counters["current"]["sessionsown"],
        "sessions_total": int(counters["total"]["managedsessions"]),
        "rejected": int(counters["total"]["rejectedsessions"]),
        "uptime_s": int(counters["total"]["uptime"]),
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
    addresses = list(_voip()["self"]["addresses"].values())
    argv = [_BINARY, "--foreground", "--log-stderr", f"--config-file={path}"]
    __salt__["voip_config.trial"](argv, user="rtpengine", addresses=addresses)
