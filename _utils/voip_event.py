"""Sign what this minion tells the master, so that nobody else can say it.

The other side is voip_stack/events/received.py. Salt puts _utils on sys.path: a plain import works.
"""

import base64
import json
import os
import time
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

_KEY = {}  # {(path, mtime): key}; reading and checking an RSA key costs 40 ms


def signed(opts, kind, **data):
    """Return {"host", "kind", "data", "time", "nonce", "signature"} of an event.

    opts: the minion's configuration (id, pki_dir). kind: as "service/down". data: plain values.
    """
    envelope = {
        "host": opts["id"],
        "kind": kind,
        "data": data,
        "time": time.time(),
        "nonce": uuid.uuid4().hex,
    }
    payload = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()
    signature = _key(opts).sign(payload, padding.PKCS1v15(), hashes.SHA256())
    return envelope | {"signature": base64.b64encode(signature).decode()}


def _key(opts):
    path = os.path.join(opts["pki_dir"], "minion.pem")
    stamp = (path, os.stat(path).st_mtime_ns)
    if stamp not in _KEY:
        _KEY.clear()
        with open(path, "rb") as stream:
            _KEY[stamp] = serialization.load_pem_private_key(stream.read(), password=None)
    return _KEY[stamp]
