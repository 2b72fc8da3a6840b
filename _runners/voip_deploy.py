"""What the orchestrations ask of the control host: who is to converge, the root CA, the packages.

Runs on the master as the user who deploys; the file server and the pillar stay untouched.
"""

import logging
import time
from pathlib import Path

import salt.client
import salt.utils.event
from cryptography import x509
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "voip_deploy"
# What a call needs beside a proxy.
CALL_PATH = ("rtpengine", "asterisk")
ROOT_CA = "/etc/voip-stack/tls/ca.crt"
_SYNC_S = 60
_START_S = 90
# A moment later, so that the job that asks for it has answered.
_RESTART = (
    "systemd-run --quiet --collect --on-active=0.5 --timer-property=AccuracySec=100ms"
    " systemctl restart salt-minion.service"
)


def __virtual__():
    return __virtualname__


def plan():
    """Return what the orchestrations need: {"first", "then", "all", "proxies", "daemons", "relays",
    "entrances"}.

    first: those that serve secrets, certificates and data to the rest. proxies: those to wait for
    until they reach media relays and PBXs; none where one of these could not be had. relays: media
    hosts that take over each other's calls. entrances: hosts with a shared address. All are
    minions, but daemons: what runs on the proxies.
    """
    from voip_stack import deployment, paths
    from voip_stack.pillar import compile, load

    pillar = load(paths.pillar_dir())
    names = pillar.minions()
    first = [name for name in names if "devstack" in pillar.hosts[name].roles]
    facts = deployment.read()
    daemons = compile.proxies(pillar, facts)
    proxies = [name for name in names if set(daemons) & set(pillar.components_of(name))]
    if not all(compile.is_available(name, facts) for name in CALL_PATH):
        proxies = []
    return {
        "first": first,
        "then": [name for name in names if name not in first],
        "all": names,
        "proxies": proxies,
        "daemons": daemons,
        "relays": list(pillar.floating()),
        "entrances": [name for name in names if pillar.hosts[name].shared is not None],
    }


def sync():
    """Hand every minion the extensions, and restart those that run with older ones.

    A minion that watches keeps the helper modules of its beacons, and its jobs inherit them: what
    came with a newer checkout would be used in part. Returns {"synced": {host: [name, ...]},
    "restarted": [host, ...]}. Raises CommandExecutionError that names who does not answer.
    """
    from voip_stack import paths

    names = plan()["all"]
    every = {f"utils.{file.stem}" for file in (paths.checkout() / "_utils").glob("*.py")}
    with salt.client.get_local_client(mopts=__opts__) as client:
        answers = client.cmd(
            names, "saltutil.sync_all", kwarg={"refresh": True}, tgt_type="list", timeout=_SYNC_S
        )
        if silent := sorted(set(names) - set(answers)):
            raise CommandExecutionError(f"No answer from the minion of {', '.join(silent)}")
        synced = {
            host: sorted(name for found in answer.values() for name in found or [])
            for host, answer in answers.items()
        }
        stale = [host for host in names if _is_stale(answers[host], every)]
        _restart(client, stale)
    return {"synced": {host: found for host, found in synced.items() if found}, "restarted": stale}


def _is_stale(answer, every):
    """Whether what sync_all has just brought may have been in use before, in an older form.

    every: all helper modules. Who gets them all had none, and runs none.
    """
    helpers = set(answer.get("utils") or [])
    return bool(helpers or answer.get("beacons")) and helpers != every


def _restart(client, hosts):
    """Restart minions; returns when each has said that it started."""
    if not hosts:
        return
    with salt.utils.event.get_event(
        "master", sock_dir=__opts__["sock_dir"], opts=__opts__, listen=True
    ) as bus:
        bus.connect_pub()
        client.cmd(hosts, "cmd.run", [_RESTART], tgt_type="list", timeout=_SYNC_S)
        waiting, deadline = set(hosts), time.monotonic() + _START_S
        while waiting and time.monotonic() < deadline:
            event = bus.get_event(tag="salt/minion/", match_type="startswith", wait=1, full=True)
            if event and event["tag"].endswith("/start"):
                waiting.discard(event["tag"].split("/")[2])
    if waiting:
        raise CommandExecutionError(f"The minion of {', '.join(sorted(waiting))} did not come back")


def adopt_ca():
    """Fetch the root certificate from the first devstack host; the pillar gives it to everybody.

    Returns {"changed": bool, "subject": str, "sha256": str}. Raises CommandExecutionError when
    the host has none, or what it has is no CA certificate. With an existing Vault (vault.external)
    the file must be there already: nothing that has been verified could vouch for it.
    """
    from voip_stack import paths
    from voip_stack.deployment import write_atomic
    from voip_stack.pillar import load

    file = paths.ca_file()
    if load(paths.pillar_dir()).vault.external:
        if not file.exists():
            raise CommandExecutionError(f"Put the existing Vault's root CA into {file} first")
        text = file.read_text()
    else:
        text = _fetch(plan()["first"][0])
    certificate = _root(text)
    changed = write_atomic(Path(file), text, 0o644)
    return {
        "changed": changed,
        "subject": certificate.subject.rfc4514_string(),
        "sha256": certificate.fingerprint(certificate.signature_hash_algorithm).hex(),
    }


def _fetch(host):
    with salt.client.get_local_client(mopts=__opts__) as client:
        answer = client.cmd(host, "file.read", [ROOT_CA], timeout=30)
    text = answer.get(host)
    if not isinstance(text, str) or "BEGIN CERTIFICATE" not in text:
        raise CommandExecutionError(f"{host} has no root CA in {ROOT_CA}: {text!r:.200}")
    return text


def _root(text):
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CommandExecutionError(f"The root CA cannot be read: {error}") from error
    if not constraints.value.ca or certificate.issuer != certificate.subject:
        raise CommandExecutionError("What should be the root CA is no self-signed CA certificate")
    return certificate
