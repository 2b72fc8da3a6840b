"""Run on the Vault's host: print every live secret value, for the scan of test_secrets.py.

Reads with the identity that provisions; what it prints goes to the test over a pipe, nowhere else.
Executed by the minion's interpreter: salt-call's loader gives the client that the states use.
"""

import json
import sys

import salt.client

sys.path.insert(0, "/var/cache/salt/minion/extmods/utils")

import voip_subscribers

caller = salt.client.Caller(mopts=None)
functions = caller.sminion.functions
settings = caller.sminion.opts["pillar"]["voip"]["vault"]
session = functions["voip_vault.session"]("provision")
mount = settings["kv_mount"]
values = {}
# How far a rotation of the intermediate CA is, and which certificate was last: no secret.
NOT_SECRET = ("authority/",)


def walk(folder):
    for name in session.keys(f"{mount}/metadata/{folder}"):
        path = f"{folder}{name}"
        if path in NOT_SECRET:
            continue
        if name.endswith("/"):
            walk(path)
            continue
        document = session.read(f"{mount}/data/{path}")["data"]
        if folder == "subscribers/":
            document = voip_subscribers.passwords(document)
        for key, value in document.items():
            # A user name is no secret, whatever it is stored with.
            if key != "username" and isinstance(value, str) and len(value) >= 12:
                values[f"{path}#{key}"] = value


walk("")
json.dump(values, sys.stdout)
