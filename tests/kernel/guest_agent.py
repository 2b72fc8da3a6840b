"""The test's hand inside the machine: does what the host asks over a virtio port.

One JSON object a line, each answered by one. Runs in the minion's environment as root and keeps a
masterless minion loaded, because starting Salt anew costs more than ten seconds under emulation.

  {"run": [argv], "stdin": text, "timeout": seconds}   -> {"code", "out", "err"}
  {"call": function, "args": [...], "kwargs": {...}}   -> {"return"} or {"error"}
"""

import json
import subprocess
import traceback

HERE = "/opt/voip-test"
PORT = "/dev/virtio-ports/voip.test"


class Minion:
    """A masterless minion, made when it is first needed."""

    def __init__(self):
        self.caller = None

    def call(self, function, args, kwargs):
        if self.caller is None:
            self.caller = self._make()
        return self.caller.cmd(function, *args, **kwargs)

    def _make(self):
        import salt.client
        import salt.config

        options = salt.config.minion_config(None)
        options.update(
            id="media-1",
            file_client="local",
            file_roots={"base": [f"{HERE}/salt"]},
            pillar_roots={"base": [f"{HERE}/pillar"]},
            module_dirs=[f"{HERE}/salt/_modules"],
            states_dirs=[f"{HERE}/salt/_states"],
            utils_dirs=[f"{HERE}/salt/_utils"],
            enable_fqdns_grains=False,
            log_level="warning",
        )
        return salt.client.Caller(mopts=options)


def answer(minion, order):
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
    return {"error": f"no such order: {sorted(order)}"}


def main():
    minion = Minion()
    with open(PORT, "r+b", buffering=0) as port:
        port.write(b'{"ready": true}\n')
        pending = b""
        while True:
            data = port.read(65536)
            pending += data or b""
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                try:
                    found = answer(minion, json.loads(line))
                except Exception as err:  # the host must hear of everything
                    found = {"error": f"{err!r}", "trace": traceback.format_exc()}
                port.write(json.dumps(found, default=str).encode() + b"\n")


if __name__ == "__main__":
    main()
