"""The web phone's server: what its files say, its configuration tried, and whether it serves.

The page itself is static (salt/webphone/files/page). Where it registers comes from the pillar:
every component of this host that listens for SIP over secure WebSocket (`wss` in services.yaml).
"""

import http.client
import os
import ssl
import subprocess

from salt.exceptions import CommandExecutionError

__virtualname__ = "webphone"

_UNIT = "voip-webphone.service"
_NGINX = "/usr/sbin/nginx"
# Of its pid file and its temporary files: systemd makes it at the start of the service.
_RUN = "/run/voip-webphone"
_TIMEOUT_S = 5


def __virtual__():
    return __virtualname__


def settings():
    """Return what the page reads at its start: {"domain", "proxies": [{"name", "url"}]}."""
    return {"domain": _voip()["site"]["domain"], "proxies": proxies()}


def proxies():
    """Return [{"name", "url"}] of the proxies on this host that a browser can register at."""
    voip = _voip()
    return [
        {
            "name": component,
            "url": f"wss://{voip['site']['proxy_name']}:{voip['ports'][component]['wss']}",
        }
        for component in voip["self"]["components"]
        if "wss" in voip["ports"].get(component, {})
    ]


def addresses():
    """Return this host's external addresses, in the form of a listener (RFC 3986)."""
    own = _voip()["self"]
    found = [own["addresses"]["external"]] if "external" in own["addresses"] else []
    return found + [f"[{address}]" for address in own.get("ipv6", {}).values()]


def content_policy():
    """Return the page's Content-Security-Policy: its own files, and connections to the proxies."""
    reached = " ".join(["'self'", *(proxy["url"] for proxy in proxies())])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src {reached}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def check_config(stage):
    """Have nginx parse the staged directory. Raises CommandExecutionError with what it says."""
    os.makedirs(_RUN, mode=0o755, exist_ok=True)
    done = subprocess.run(
        [_NGINX, "-t", "-q", "-e", "stderr", "-c", os.path.join(stage, "nginx.conf")],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise CommandExecutionError(f"nginx refuses its configuration: {done.stderr.strip()}")


def reload():
    """Have the server read its certificate and configuration again; connections stay."""
    if not __salt__["service.reload"](_UNIT):
        raise CommandExecutionError(f"{_UNIT} was not reloaded: journalctl -u {_UNIT}")
    return True


def ping():
    """Return True when the page is served over verified TLS. Raises CommandExecutionError."""
    voip = _voip()
    context = ssl.create_default_context(cafile=f"{__salt__['voip_pki.directory']()}/ca.crt")
    name, port = voip["site"]["proxy_name"], voip["ports"]["webphone"]["https"]
    for address in addresses():
        connection = _Connection(address.strip("[]"), port, name, context)
        try:
            connection.request("GET", "/", headers={"Host": name})
            status = connection.getresponse().status
        except OSError as err:
            raise CommandExecutionError(f"{address}:{port} does not answer: {err}") from err
        finally:
            connection.close()
        if status != 200:
            raise CommandExecutionError(f"{address}:{port} answers {status}")
    return True


class _Connection(http.client.HTTPSConnection):
    """To an address, whose certificate has to be for a name."""

    def __init__(self, address, port, name, context):
        super().__init__(address, port, timeout=_TIMEOUT_S, context=context)
        self._name, self._tls = name, context

    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _voip():
    return __pillar__["voip"]
