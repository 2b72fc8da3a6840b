"""What the orchestrations ask of the control host: who is to converge, the root CA, the packages.

Runs on the master as the user who deploys; the file server and the pillar stay untouched.
"""

import logging
from pathlib import Path

import salt.client
from cryptography import x509
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "voip_deploy"
# What a call needs.
CALL_PATH = ("kamailio", "rtpengine", "asterisk")
ROOT_CA = "/etc/voip-stack/tls/ca.crt"


def __virtual__():
    return __virtualname__


def plan():
    """Return {"first", "then", "all", "proxies", "relays"}: minions for the orchestrations.

    first: those that serve secrets, certificates and data to the rest. proxies: those to wait for
    until they reach media relays and PBXs; none where one of these could not be had. relays: media
    hosts that take over each other's calls.
    """
    from voip_stack import deployment, paths
    from voip_stack.pillar import load
    from voip_stack.pillar.compile import is_available

    pillar = load(paths.pillar_dir())
    names = pillar.minions()
    first = [name for name in names if "devstack" in pillar.hosts[name].roles]
    proxies = [name for name in names if "kamailio" in pillar.components_of(name)]
    facts = deployment.read()
    if not all(is_available(name, facts) for name in CALL_PATH):
        proxies = []
    return {
        "first": first,
        "then": [name for name in names if name not in first],
        "all": names,
        "proxies": proxies,
        "relays": list(pillar.floating()),
    }


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
