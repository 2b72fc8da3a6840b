"""The host's hand inside the machine: does what the host asks over a virtio port.

One JSON object a line, each answered by one. Runs in the minion's environment as root and keeps a
masterless minion loaded, because starting Salt anew costs more than ten seconds under emulation.
Part of the machine's image: what comes from the checkout arrives as an order.

  {"payload": base64 of a tar.gz}                      -> {"return"}
  {"run": [argv], "stdin": text, "timeout": seconds}   -> {"code", "out", "err"}
  {"call": function, "args": [...], "kwargs": {...}}   -> {"return"}
  {"beacon": name, "config": [...]}                    -> {"return"}
What goes wrong is {"error", "trace"}.
"""

import base64
import importlib
import json
import subprocess
import traceback

HERE = "/opt/voip-test"
PORT = "/dev/virtio-ports/voip.test"


class Minion:
    """A masterless minion, made when it is first needed; a payload has it look anew."""

    def __init__(self):
        self.caller = None

    def unpack(self, payload):
        argv = ["tar", "-xz", "-C", HERE]
        subprocess.run(argv, input=base64.b64decode(payload), check=True)
        importlib.invalidate_caches()
        if self.caller:
            # Pillar and extensions; grains, which take ten times as long, are the machine's own.
            self.caller.sminion.gen_modules(initial_load=True)

    def call(self, function, args, kwargs):
        return self.loaded().cmd(function, *args, **kwargs)

    def loaded(self):
        self.caller = self.caller or self._make()
        return self.caller

    def beacon(self, name, config):
        """What the beacon would send now, found by Salt's own loader."""
        import salt.loader

        caller = self.loaded()
        beacons = salt.loader.beacons(caller.opts, caller.sminion.functions)
        return beacons[f"{name}.beacon"](config)

    def _make(self):
        import salt.client
        import salt.config

        options = salt.config.minion_config(None)
        options.update(
            id="media-1",
            file_client="local",
            file_roots={"base": [f"{HERE}/salt"]},
            pillar_roots={"base": [f"{HERE}/pillar"]},
            pki_dir=f"{HERE}/pki",
            module_dirs=[f"{HERE}/salt/_modules"],
            states_dirs=[f"{HERE}/salt/_states"],
            utils_dirs=[f"{HERE}/salt/_utils"],
            beacons_dirs=[f"{HERE}/salt/_beacons"],
            enable_fqdns_grains=False,
            log_level="warning",
        )
        return salt.client.Caller(mopts=options)


def answer(minion, order):
    if "payload" in order:
        return {"return": minion.unpack(order["payload"])}
    if "run" in order:
        done = subprocess.run(
            order["run"],
            input=order.get("stdin", ""),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=order.get("timeout", 60),
            check=False,
        )
        return {"code": done.returncode, "out": done.stdout, "err": done.stderr}
    if "call" in order:
        return {"return": minion.call(order["call"], order.get("args", []), order["kwargs"])}
    if "beacon" in order:
        return {"return": minion.beacon(order["beacon"], order["config"])}
    return {"error": f"no such order: {sorted(order)}"}


def main():
    minion = Minion()
    with open(PORT, "r+b", buffering=0) as port:
        port.write(b'{"ready": true}\n')
        pending = []
        while True:
            data = port.read(65536) or b""
            pending.append(data)
            if b"\n" not in data:
                continue
            line, _, rest = b"".join(pending).partition(b"\n")
            pending = [rest]
            try:
                found = answer(minion, json.loads(line))
            except Exception as err:  # the host must hear of everything
                found = {"error": f"{err!r}", "trace": traceback.format_exc()}
            port.write(json.dumps(found, default=str).encode() + b"\n")


if __name__ == "__main__":
    main()
