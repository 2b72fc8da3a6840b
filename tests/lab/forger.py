"""The program of a compromised guest: root there, with its minion's key, sends what it likes.

Run with the minion's Python. Standard input: a JSON list of orders, {"way", "tag", "says": {"host",
"kind", "data"}, "age_s", "signs": bool, "then": {changes of the signed}, "sealed": an envelope as
it is}. Prints a JSON list: the envelope of each event, the answer to anything else. It signs and
sends by itself: an attacker does not use our functions.
"""

import base64
import json
import sys
import time
import uuid

import salt.channel.client
import salt.client
import salt.crypt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

TIMEOUT_S = 15


class Forger:
    def __init__(self):
        caller = salt.client.Caller(mopts=None)
        self.functions, self.opts = caller.sminion.functions, caller.sminion.opts
        with open(f"{self.opts['pki_dir']}/minion.pem", "rb") as stream:
            self.key = serialization.load_pem_private_key(stream.read(), password=None)
        self.auth = salt.crypt.SAuth(self.opts)

    def envelope(self, says, age_s=0, signs=True, then=None, **_):
        """An event as _utils/voip_event.py makes it, but for what the order wants otherwise."""
        made = says | {"time": time.time() - age_s, "nonce": uuid.uuid4().hex}
        if signs:
            text = json.dumps(made, sort_keys=True, separators=(",", ":")).encode()
            signature = self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())
            made |= {"signature": base64.b64encode(signature).decode()}
        return made | {"id": says["host"]} | (then or {})

    def carry_out(self, order):
        if order["way"] == "load":
            return self.request(order["load"])
        if order["way"] == "call":
            return self.functions[order["function"]](*order["arguments"])
        envelope = order.get("sealed") or self.envelope(**order)
        getattr(self, order["way"])(order["tag"], envelope)
        return envelope

    def send(self, tag, envelope):
        return self.functions["event.send"](tag, envelope)

    def fire(self, tag, envelope):
        return self.functions["event.fire_master"](envelope, tag)

    def single(self, tag, envelope):
        return self.request({"cmd": "_minion_event", "tag": tag, "data": envelope})

    def listed(self, tag, envelope):
        """As a beacon's events come: published by the master as they are, with their own id."""
        return self.request({"cmd": "_minion_event", "events": [{"tag": tag, "data": envelope}]})

    def request(self, load):
        own = {"id": self.opts["id"], "tok": self.auth.gen_token(b"salt")}
        with salt.channel.client.ReqChannel.factory(self.opts) as channel:
            return channel.send(own | load, tries=1, timeout=TIMEOUT_S)


def main():
    forger, answers = Forger(), []
    for order in json.load(sys.stdin):
        try:
            answers.append(forger.carry_out(order))
        except Exception as error:  # refused by Salt: an answer too
            answers.append(f"{type(error).__name__}: {error}")
    print(json.dumps(answers, default=repr))


main()
