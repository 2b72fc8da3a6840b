"""PostgreSQL's SCRAM-SHA-256 verifiers (RFC 5803 form): the server never sees the password."""

import base64
import hashlib
import hmac
import os
import re

ITERATIONS = 4096  # PostgreSQL's scram_iterations
_FORM = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


def verifier(password, salt=None, iterations=ITERATIONS):
    """Return the verifier of `password` (ASCII, so SASLprep changes nothing)."""
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server = _hmac(salted, b"Server Key")
    return f"SCRAM-SHA-256${iterations}:{_b64(salt)}${_b64(stored)}:{_b64(server)}"


def is_verifier_of(text, password):
    """Tell whether `text` is a verifier of `password`."""
    match = _FORM.fullmatch(text or "")
    if not match:
        return False
    again = verifier(password, base64.b64decode(match[2]), int(match[1]))
    return hmac.compare_digest(again, text)


def _hmac(key, message):
    return hmac.new(key, message, "sha256").digest()


def _b64(data):
    return base64.b64encode(data).decode()
