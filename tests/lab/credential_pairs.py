"""Run on the Vault's host: print every pair that a secret had lately, for test_rotation.py.

Argument: a path below the KV mount. What it prints goes to the test over a pipe, nowhere else.
"""

import json
import sys

import salt.client

KEPT = 9  # the Vault keeps ten versions of a secret, four come with each rotation

caller = salt.client.Caller(mopts=None)
functions = caller.sminion.functions
mount = caller.sminion.opts["pillar"]["voip"]["vault"]["kv_mount"]
session = functions["voip_vault.session"]("provision")
(path,) = sys.argv[1:]
newest = session.read(f"{mount}/metadata/{path}")["current_version"]
pairs = []
for version in range(newest, max(newest - KEPT, 0), -1):
    document = session.read(f"{mount}/data/{path}?version={version}")["data"]
    for prefix in ("", "next_", "old_"):
        if f"{prefix}password" in document:
            pair = {key: document[f"{prefix}{key}"] for key in ("username", "password")}
            if pair not in pairs:
                pairs.append(pair)
json.dump({"phase": document.get("phase", "stable"), "pairs": pairs}, sys.stdout)
