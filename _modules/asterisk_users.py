"""Asterisk's own users, of AMI and ARI: who is taken, who is in, and its control socket.

On the PBX itself. Needs no Vault access.
"""

import base64
import http.client
import os
import ssl
import time

import voip_ami
import voip_asterisk
import voip_probe_ami
import voip_probe_link
import voip_process
from salt.exceptions import CommandExecutionError

__virtualname__ = "asterisk_users"

_BINARY = "/usr/sbin/asterisk"
_DIRECTORY = "/etc/asterisk/voip"
_CA_FILE = "/etc/voip-stack/tls/ca.crt"
_TIMEOUT_S = 5.0
_PAUSE_S = 0.5


def __virtual__():
    return __virtualname__


def takes_manager(pair):
    """Tell whether AMI lets `pair` in; raises CommandExecutionError when it says neither.

    pair: {"username", "password"}. Only for use by other modules: a job's arguments are logged.
    """
    address, port, name = _where("ami")
    login = {"Username": pair["username"], "Secret": pair["password"], "Events": "off"}
    try:
        with voip_probe_link.tls(address, port, name, _CA_FILE, _TIMEOUT_S) as link:
            # The banner comes first; an answer is told by its ActionID.
            voip_probe_ami.say(link, "Login", **login)
            voip_probe_ami.say(link, "Logoff")
    except voip_ami.Refused:
        return False
    except OSError as err:
        raise CommandExecutionError(f"Asterisk's AMI at {address}:{port}: {err}") from err
    return True


def takes_rest(pair):
    """Tell whether ARI lets `pair` in; as takes_manager."""
    address, port, name = _where("ari")
    token = base64.b64encode(f"{pair['username']}:{pair['password']}".encode()).decode()
    context = ssl.create_default_context(cafile=_CA_FILE)
    link = http.client.HTTPSConnection(name, port, timeout=_TIMEOUT_S, context=context)
    try:
        link.request(
            "GET", "/ari/asterisk/info?only=status", headers={"Authorization": f"Basic {token}"}
        )
        status = link.getresponse().status
    except (OSError, http.client.HTTPException) as err:
        raise CommandExecutionError(f"Asterisk's ARI at {address}:{port}: {err}") from err
    finally:
        link.close()
    if status not in (200, 401):
        raise CommandExecutionError(f"Asterisk's ARI at {address}:{port}: status {status}")
    return status == 200


def manager():
    """Return the first user of manager.conf: by it this host's own modules are in."""
    return _first("manager.conf")


def rest():
    """Return the first user of ari.conf."""
    return _first("ari.conf")


def drain(host, timeout_s=30, end=False):
    """Wait until the AMI sessions are all of manager.conf's first user; returns how many are not.

    host: this one. end: bool, end the others then: a removed user's session would go on for ever.
    """
    current, deadline = manager(), time.monotonic() + timeout_s
    while left := voip_asterisk.manager_sessions(command("manager show connected"), current):
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_S)
    for descriptor in left if end else ():
        command(f"manager kick session {descriptor}")
    return len(left)


def command(text):
    """Return what one command on Asterisk's control socket says; the socket is root's alone."""
    argv = [_BINARY, "-C", os.path.join(_DIRECTORY, "asterisk.conf"), "-rx", text]
    return voip_process.must(argv, f"asterisk -rx '{text}'", timeout_s=15)


def _where(service):
    voip = __pillar__["voip"]
    own = voip["self"]
    return own["addresses"]["internal"], voip["ports"]["asterisk"][service], own["fqdn"]


def _first(name):
    with open(os.path.join(_DIRECTORY, name), encoding="utf-8") as file:
        return voip_ami.credentials(file.read())[0]
