"""Ask Asterisk over its manager interface (AMI, TLS), on the PBX itself. Needs no Vault access.

The credential is the one in manager.conf, which only root and Asterisk read.
"""

import contextlib
import os
import pwd
import re
import secrets
import socket
import ssl
import time

import voip_ami
import voip_asterisk
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "asterisk"

_BINARY = "/usr/sbin/asterisk"
_DIRECTORY = "/etc/asterisk/voip"
# The files without which nothing can be tried.
_WHOLE = ("asterisk.conf", "modules.conf", "pjsip.conf", "pjsip_trunks.conf", "extensions.conf")
_CA_FILE = "/etc/voip-stack/tls/ca.crt"
_TIMEOUT_S = 5.0
# What reads a certificate only when it is told to.
_CERTIFIED = ("http", "manager")
# Handshakes that are under way when new ones are held have ended after this.
_HANDSHAKE_S = 0.3
# How often a listener that gives no fingerprint is looked at: a second each.
_LOOKS = 8
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LEG = {
    "call_id": "CHANNEL(pjsip,call-id)",
    "tls": "CHANNEL(pjsip,secure)",
    "srtp": "CHANNEL(rtp,secure)",
    "remote": "CHANNEL(rtp,dest)",
    "codec": "CHANNEL(audioreadformat)",
    "rtcp": "CHANNEL(rtcp,all)",
}


def __virtual__():
    return __virtualname__


def plan():
    """Return the decisions of this host's configuration (see `voip_asterisk.plan`)."""
    try:
        return voip_asterisk.plan(__pillar__["voip"])
    except (KeyError, ValueError) as err:
        raise SaltInvocationError(f"pillar: {err}") from err


class _Session:
    """One logged-in AMI connection."""

    def __init__(self):
        voip = __pillar__["voip"]
        own = voip["self"]
        self._where = (own["addresses"]["internal"], voip["ports"]["asterisk"]["ami"])
        self._buffer = b""
        try:
            with open(os.path.join(_DIRECTORY, "manager.conf"), encoding="utf-8") as file:
                user, secret = voip_ami.credentials(file.read())
            context = ssl.create_default_context(cafile=_CA_FILE)
            # From the address that manager.conf permits, whatever else the interface has.
            plain = socket.create_connection(self._where, _TIMEOUT_S, (self._where[0], 0))
            self._link = context.wrap_socket(plain, server_hostname=own["fqdn"])
        except OSError as err:
            raise self._failed(err) from err
        try:
            self.ask("Login", Username=user, Secret=secret, Events="off")
        except CommandExecutionError:
            self.close()
            raise

    def _failed(self, err):
        return CommandExecutionError(f"Asterisk's AMI at {self._where[0]}:{self._where[1]}: {err}")

    def close(self):
        """Part in good order: Asterisk logs an error for a TLS connection that just ends."""
        with contextlib.suppress(OSError, CommandExecutionError):
            self.ask("Logoff")
            self._link.settimeout(1)
            self._link.unwrap()
        with contextlib.suppress(OSError):
            self._link.close()

    def ask(self, action, **fields):
        """Return the answer to one action."""
        return self._exchange(action, fields)[0]

    def events(self, action, **fields):
        """Return the events of an action that answers with a list."""
        return self._exchange(action, fields)[1]

    def _exchange(self, action, fields):
        action_id = secrets.token_hex(6)
        answer, events = None, []
        try:
            self._link.sendall(voip_ami.encode(action, ActionID=action_id, **fields))
            for message in self._messages(time.monotonic() + _TIMEOUT_S):
                if not voip_ami.belongs(message, action_id):
                    continue
                if voip_ami.is_answer(message):
                    answer = voip_ami.checked(message)
                    if not voip_ami.opens_list(answer):
                        return answer, events
                elif voip_ami.closes_list(message):
                    return answer, events
                else:
                    events.append(message)
        except OSError as err:
            raise self._failed(err) from err
        raise self._failed("closed the connection")

    def _messages(self, deadline):
        while True:
            found, self._buffer = voip_ami.split(self._buffer)
            yield from found
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            self._link.settimeout(left)
            data = self._link.recv(65536)
            if not data:
                return
            self._buffer += data


def ping():
    """Return the milliseconds from connecting to the answer, log-in included.

    CLI Example:

    .. code-block:: bash

        salt pbx-1 asterisk.ping
    """
    start = time.monotonic()
    with contextlib.closing(_Session()) as session:
        session.ask("Ping")
    return round((time.monotonic() - start) * 1000, 2)


def status():
    """Return version, calls, started (ISO date and time) and contacts of the running Asterisk."""
    with contextlib.closing(_Session()) as session:
        settings = session.ask("CoreSettings")
        state = session.ask("CoreStatus")
        return {
            "version": settings["AsteriskVersion"],
            "calls": int(state["CoreCurrentCalls"]),
            "started": f"{state['CoreStartupDate']}T{state['CoreStartupTime']}",
            "contacts": _contacts(session),
        }


def pjsip_contacts():
    """Return {uri: {endpoint, status, rtt_ms}} of each proxy: status is Reachable when it answers.

    CLI Example:

    .. code-block:: bash

        salt pbx-1 asterisk.pjsip_contacts
    """
    with contextlib.closing(_Session()) as session:
        return _contacts(session)


def _contacts(session):
    # PJSIPShowContacts leaves out contacts that the configuration names.
    return {
        event["URI"]: {
            "endpoint": event.get("EndpointName"),
            "status": event.get("Status"),
            "rtt_ms": _milliseconds(event.get("RoundtripUsec")),
        }
        for proxy in plan()["proxies"]
        for event in session.events("PJSIPShowEndpoint", Endpoint=proxy["name"])
        if event.get("Event") == "ContactStatusDetail"
    }


def _milliseconds(microseconds):
    try:
        return round(int(microseconds) / 1000, 2)
    except (TypeError, ValueError):
        return None


def channels():
    """Return each channel: state, numbers, SIP Call-ID, TLS, SRTP, codec and packet counters.

    Keys: name, state, caller, number, application, seconds, linked, call_id, secure_signaling,
    secure_media, remote ("address:port"), codec, rx and tx {packets, lost, jitter_ms}. rx is
    counted by Asterisk, tx.lost and tx.jitter_ms by the peer's RTCP reports.

    CLI Example:

    .. code-block:: bash

        salt pbx-1 asterisk.channels
    """
    with contextlib.closing(_Session()) as session:
        return [_channel(session, event) for event in session.events("CoreShowChannels")]


def _channel(session, event):
    name = event["Channel"]
    value = {key: _variable(session, name, text) for key, text in _LEG.items()}
    return {
        "name": name,
        "state": event.get("ChannelStateDesc"),
        "caller": event.get("CallerIDNum"),
        "number": event.get("Exten"),
        "application": event.get("Application"),
        "seconds": voip_asterisk.seconds(event.get("Duration", "")),
        "linked": event.get("Linkedid"),
        "call_id": value["call_id"],
        "secure_signaling": value["tls"] == "1",
        "secure_media": value["srtp"] == "1",
        "remote": value["remote"],
        "codec": value["codec"],
        "rx": voip_asterisk.counters(value["rtcp"], "rx"),
        "tx": voip_asterisk.counters(value["rtcp"], "tx"),
    }


def _variable(session, channel, variable):
    try:
        return session.ask("Getvar", Channel=channel, Variable=variable).get("Value")
    except voip_ami.Refused:
        return None  # the channel ended meanwhile


def reload():
    """Read dialplan, trunks, boxes and users again where their files changed.

    Calls and connections go on. The transport's other settings, and modules, want a restart.
    """
    modules = ("res_pjsip.so", "pbx_config.so", "app_voicemail.so", "res_ari.so", *_CERTIFIED)
    return _reload(modules, ("sip-tls", "ami", "ari"))


def reload_certificate():
    """Show the certificate on disk to new connections of SIP, AMI and ARI; open ones go on."""
    # AMI and ARI read a certificate again only when one of their files has changed: an empty one
    # that they include is there to be touched.
    with contextlib.suppress(FileNotFoundError):
        os.utime(os.path.join(_DIRECTORY, "reload.conf"))
    _reload(_CERTIFIED, ("ami", "ari"))
    if not _sip_shows(__salt__["voip_pki.fingerprint"]("asterisk")):
        _reload(("res_pjsip.so",), ("sip-tls",))
    return True


def _sip_shows(fingerprint):
    """PJSIP of our recipe reads the pair at each connection; that of another build, when it opens
    its listener anew, which resets connections and leaks (docs/adr/0014): not for a listener that
    is only too busy to answer in time. It is asked again."""
    port = __pillar__["voip"]["ports"]["asterisk"]["sip-tls"]
    for _ in range(_LOOKS):
        shown = __salt__["voip_tls.shown"]("asterisk")
        found = {what for where, what in shown.items() if where.endswith(f":{port}")}
        if all(_FINGERPRINT.fullmatch(what) for what in found):
            break
        time.sleep(_HANDSHAKE_S)
    return found <= {fingerprint}


def _reload(modules, listeners):
    # A reload sets TLS up anew in place, and closes a listener to open it again: a handshake of
    # that moment would fail, a connection be reset.
    ports = __pillar__["voip"]["ports"]["asterisk"]
    __salt__["voip_firewall.hold"]([ports[name] for name in listeners])
    try:
        time.sleep(_HANDSHAKE_S)
        for module in modules:
            __salt__["asterisk_users.command"](f"module reload {module}")
    finally:
        __salt__["voip_firewall.release"]()
    return True


def check_config(stage):
    """Start a second Asterisk on the staged directory, out of the way of the running one.

    Asterisk has no check mode and starts with half its files unreadable, so a reload after the
    swap would find out too late. The second one has its own run, database and log directories, and
    a network namespace with this host's address where it binds the very same ports; when it is up,
    what it complained about decides. Raises CommandExecutionError with those lines.
    A first install writes the files in two parts: only the second makes a whole to try.
    """
    if not all(os.path.exists(os.path.join(stage, name)) for name in _WHOLE):
        return
    path = _trial_config(stage)
    addresses = list(__pillar__["voip"]["self"]["addresses"].values())
    output = __salt__["voip_config.trial"](
        [_BINARY, "-f", "-C", path], user="asterisk", addresses=addresses
    )
    wrong = voip_asterisk.complaints(output)
    if wrong:
        raise CommandExecutionError("Asterisk refuses this configuration: " + "; ".join(wrong[:5]))


def _trial_config(stage):
    """Write trial.conf: asterisk.conf with every directory it writes to inside the stage."""
    user = pwd.getpwnam("asterisk")
    room = os.path.join(stage, ".trial")
    for path in (room, os.path.join(room, "keys")):
        os.makedirs(path, mode=0o700)
        os.chown(path, user.pw_uid, user.pw_gid)
    with open(os.path.join(stage, "asterisk.conf"), encoding="utf-8") as file:
        text = voip_asterisk.trial_config(file.read(), stage, room)
    path = os.path.join(stage, "trial.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chown(path, 0, user.pw_gid)
    os.chmod(path, 0o640)
    return path
