"""A Vault API session: one keep-alive connection, verified by our CA, errors as classes.

hvac does the protocol; what is added here is the error classes of voip_errors and a connection by
address that still verifies the server's *name*: enrolment happens before a guest can resolve any.

No lifetime is computed from this machine's wall clock, which may be wrong: what the server says is
its own time, and how long a token has been held is measured by a clock that nobody sets.
"""

import contextlib
import datetime
import email.utils
import os
import socket
import ssl
import time

import hvac
import hvac.exceptions
import requests
import requests.adapters
import urllib3
import voip_handshake
from voip_errors import Denied, NotFound, Refused, Sealed, Unavailable

# hvac maps each HTTP status to a class; these are the ones that a state must tell apart.
_CLASSES = (
    (hvac.exceptions.InvalidPath, NotFound),
    (hvac.exceptions.Forbidden, Denied),
    (hvac.exceptions.Unauthorized, Denied),
    (hvac.exceptions.InvalidRequest, Refused),
)
# A token is given back for a new one when this part of its life is over.
TOKEN_FRACTION = 0.8
# What OpenSSL says of a certificate that this machine's clock puts outside its time (verify(1)).
_CLOCK_CODES = {9: "not valid yet", 10: "expired"}


def elapsed():
    """Seconds since whenever, by a clock that goes on in suspension and that nobody can set."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class NamedHost(requests.adapters.HTTPAdapter):
    """Connect to whatever address the URL has, and require the certificate of `name`."""

    def __init__(self, name, ca_file):
        self._name = name
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nothing of itself
        self._context.load_verify_locations(ca_file)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(
            *args,
            **kwargs,
            ssl_context=self._context,
            server_hostname=self._name,
            assert_hostname=self._name,
        )


class OwnHost(NamedHost):
    """On the server's own machine, once its certificate has ended: nobody else could renew it.

    The name and our CA are verified as always, the time is not.
    """

    def __init__(self, name, ca_file):
        super().__init__(name, ca_file)
        self._context.verify_flags |= voip_handshake.NO_CHECK_TIME


class LocalSocket(requests.adapters.HTTPAdapter):
    """Connect to the server's unix socket: whoever may open it is root of the server's machine."""

    def __init__(self, path):
        self._path = path
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, **kwargs)
        path = self._path

        class Connection(urllib3.connection.HTTPConnection):
            def _new_conn(self):
                made = socket.socket(socket.AF_UNIX)
                made.settimeout(10)
                made.connect(path)
                return made

        class Pool(urllib3.HTTPConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


class Session:
    """One caller's session. Paths are without the `v1/` prefix, answers are the `data` part."""

    def __init__(self, address, port, name, ca_file, timeout_s=10, adapter=NamedHost):
        if not os.path.isfile(ca_file):
            raise Unavailable(
                f"the root CA is not known here ({ca_file}): apply devstack first, so that the "
                "platform has a PKI"
            )
        self._open(f"https://{address}:{port}", adapter(name, ca_file), ca_file, timeout_s)

    @classmethod
    def local(cls, path):
        """A session by the unix socket `path`."""
        session = cls.__new__(cls)
        session._open("http://localhost", LocalSocket(path), False, 10)
        return session

    def _open(self, url, adapter, verify, timeout_s):
        self.url = url
        self._again, self._until, self._ahead_s = None, None, 0.0
        self._http = requests.Session()
        self._http.hooks["response"].append(self._hear_time)
        # Proxy and CA settings of the environment are for package downloads, not for the Vault.
        self._http.trust_env = False
        self._http.verify = verify
        self._http.mount(url, adapter)
        # The empty token keeps hvac from picking up VAULT_TOKEN or ~/.vault-token.
        self._client = hvac.Client(
            url=url, token="", session=self._http, verify=verify, timeout=timeout_s
        )

    def with_token(self, token):
        """Use `token` from now on; returns the session."""
        self._client.token = token
        return self

    def now(self):
        """Return the server's time, Unix seconds, as its last answer gave it."""
        return time.time() + self._ahead_s

    def login(self, mount, role_id, secret_id, again=None):
        """Log in by AppRole. Raises Denied when role or secret_id is refused.

        again: function that returns the identity (dict) to log in with once the token nears its
        end: an AppRole's batch token cannot be renewed. Without it the session ends with its token.
        """
        self._again, self._until = None, None
        try:
            answer = self.call(
                "post", f"auth/{mount}/login", {"role_id": role_id, "secret_id": secret_id}
            )
        except Refused as err:
            raise Denied(f"the Vault refuses this AppRole: {err}") from err
        self._client.token = answer["auth"]["client_token"]
        if again and (ttl_s := answer["auth"].get("lease_duration")):
            # The server counts whole seconds from the one that has begun.
            self._until = elapsed() + ttl_s * TOKEN_FRACTION - 1
            self._again = (mount, again)
        return self

    def read(self, path):
        """Return the data at `path`. Raises NotFound, Denied, Sealed, Unavailable."""
        return self.call("get", path)["data"]

    def keys(self, path):
        """Return the names under `path`, an empty list where nothing is."""
        try:
            return self.call("list", path)["data"]["keys"]
        except NotFound:
            return []

    def write(self, path, data, wrap_ttl_s=None):
        """Write `data`; returns the whole answer (or {} for 204)."""
        return self.call("post", path, data, wrap_ttl_s)

    def delete(self, path):
        self.call("delete", path)

    def call(self, verb, path, data=None, wrap_ttl_s=None):
        """One request. Returns the decoded JSON, {} when there is no body."""
        self._log_in_again()
        try:
            return self._request(verb, path, data, wrap_ttl_s)
        except Denied:
            # The token may have ended on the way there, on a slow day.
            if not self._log_in_again():
                raise
            return self._request(verb, path, data, wrap_ttl_s)

    def _log_in_again(self):
        """Have another token when this one nears its end. Returns whether it was so."""
        if self._until is None or elapsed() < self._until:
            return False
        mount, again = self._again
        identity = again()
        self.login(mount, identity["role_id"], identity["secret_id"], again)
        return True

    def _request(self, verb, path, data, wrap_ttl_s):
        try:
            answer = self._client.adapter.request(
                verb,
                f"/v1/{path}",
                json=data,
                wrap_ttl=f"{wrap_ttl_s}s" if wrap_ttl_s else None,
            )
        except hvac.exceptions.VaultDown as err:
            raise Sealed(
                f"the Vault at {self.url} is sealed: on its host, `systemctl restart openbao` "
                "unseals it"
            ) from err
        except tuple(theirs for theirs, _ in _CLASSES) as err:
            ours = next(ours for theirs, ours in _CLASSES if isinstance(err, theirs))
            raise ours(f"{path}: {_reasons(err)}") from err
        except hvac.exceptions.VaultError as err:
            raise Unavailable(f"the Vault at {self.url} fails: {path}: {_reasons(err)}") from err
        except requests.exceptions.SSLError as err:
            raise Unavailable(f"the Vault at {self.url} shows {_tls_fault(err)}") from err
        except requests.exceptions.RequestException as err:
            raise Unavailable(
                f"the Vault at {self.url} does not answer ({type(err).__name__})"
            ) from err
        if isinstance(answer, dict):
            return answer
        return answer.json() if getattr(answer, "content", b"") else {}

    def _hear_time(self, response, **_):
        with contextlib.suppress(ValueError):  # a proxy may have dropped it
            said = email.utils.parsedate_to_datetime(response.headers.get("Date") or "")
            self._ahead_s = said.timestamp() - time.time()


def _tls_fault(err):
    """What is wrong with the server's certificate, in words."""
    seen = set()
    while err is not None and id(err) not in seen:
        seen.add(id(err))
        if said := _CLOCK_CODES.get(getattr(err, "verify_code", None)):
            when = datetime.datetime.now(datetime.UTC)
            return f"a certificate that is {said} at this machine's time, {when:%F %T} UTC"
        inner = (*err.args, getattr(err, "reason", None), err.__cause__)
        err = next((item for item in inner if isinstance(item, Exception)), None)
    return "a certificate that our root CA does not verify"


def _reasons(err):
    """The server's own words: never the request, which may hold a secret."""
    errors = getattr(err, "errors", None) or []
    return "; ".join(str(item) for item in errors) or "refused without a reason"
