"""What must not notice: registrations, queries through the pooler, API log-ins, a held call."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from voip_stack import vault
from voip_stack.paths import ca_file, checkout

HERE = Path(__file__).parent
PYTHON = "/opt/voip-minion/bin/python"
CALL_S = 30  # what a call needs beyond its tone, on a busy machine
SUBSCRIBER = "1003"  # the call's are 1001 and 1002


class Traffic:
    """with Traffic(provider, pillar, compiled, call_s=60) as traffic: ...; traffic.report()."""

    def __init__(self, provider, pillar, compiled, call_s):
        self._provider, self._pillar, self._compiled = provider, pillar, compiled
        self._call_s = call_s
        self._running = {}
        self._call = None

    def __enter__(self):
        argv = [str(checkout() / "voip"), "call", "1001", "1002", "--json"]
        self._call = subprocess.Popen(
            [*argv, "--duration", str(self._call_s)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._start("registrations", "client-1", "sip_probe.py", self._registration(), "python3")
        self._start("queries", "sip-1", "pool_queries.py", self._pooler(), PYTHON)
        self._start("logins", "pbx-1", "reach.py", self._apis(), "python3")
        return self

    def __exit__(self, *_):
        for process in self._running.values():
            process.kill()
        if self._call.poll() is None:
            self._call.terminate()
            self._call.wait(30)

    def report(self):
        """End everything, the call by itself; {"registrations", "queries", "logins", "call"}."""
        found = {}
        for name, process in self._running.items():
            output, _ = process.communicate(timeout=30)  # closes its standard input
            found[name] = json.loads(output)
        output, errors = self._call.communicate(timeout=self._call_s + CALL_S)
        assert output, errors
        return found | {"call": json.loads(output)}

    def _start(self, name, host, file, argument, python):
        self._provider.put(host, f"/run/{file}", (HERE / file).read_bytes())
        argv = self._provider.command(host, [python, f"/run/{file}", json.dumps(argument)])
        self._running[name] = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _registration(self):
        site = self._pillar.site
        return {
            "do": "register_often",
            "transport": "tls",
            "address": str(self._pillar.hosts["sip-1"].external),
            "port": self._pillar.services["kamailio"]["sip-tls"].ports[0],
            "server_name": site.proxy_name,
            "domain": site.domain,
            "ca": ca_file().read_text(),
            "user": SUBSCRIBER,
            "password": vault.subscriber_passwords([SUBSCRIBER])[SUBSCRIBER],
        }

    def _pooler(self):
        where = self._compiled("sip-1")["kamailio"]["database"]
        return {
            "host": where["socket_directory"],
            "port": where["port"],
            "dbname": where["name"],
            "user": where["user"],
        }

    def _apis(self):
        voip = self._compiled("pbx-1")
        where = {
            "address": voip["self"]["addresses"]["internal"],
            "name": voip["self"]["fqdn"],
            "ca": "/etc/voip-stack/tls/ca.crt",
        }
        ports, folder = voip["ports"]["asterisk"], "/etc/asterisk/voip"
        manager = where | {"port": ports["ami"], "path": f"{folder}/manager.conf"}
        rest = where | {"port": ports["ari"], "path": f"{folder}/ari.conf"}
        return {"do": "logins", "manager": manager, "rest": rest}


def nothing_failed(report):
    """Assert it, and that each was busy."""
    for name in ("registrations", "queries", "logins"):
        assert report[name]["failures"] == [], name
        assert report[name]["done"] >= 10, name
    (call,) = report["call"] if isinstance(report["call"], list) else [report["call"]]
    assert call["ok"], call


def await_call(salt, deadline_s=40):
    """Until both legs of the held call are up in the PBX."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if len(salt("pbx-1", "asterisk.channels")) >= 2:
            time.sleep(3)  # the proxy tells the call's connections by Salt, when it has begun
            return
        time.sleep(0.5)
    raise AssertionError("no call is up")
