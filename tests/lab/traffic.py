"""What must not notice: registrations, queries through the pooler, log-ins to APIs and to Redis.

And a call, held from the beginning to the end, with its audio in both directions.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

from tests.lab.phones import call, phones
from voip_stack import vault
from voip_stack.call.dialogue import CALLEE, CALLER
from voip_stack.paths import ca_file

HERE = Path(__file__).parent
PYTHON = "/opt/voip-minion/bin/python"
SUBSCRIBER = "1003"  # the call's are 1001 and 1002
LOADS = ("registrations", "queries", "logins", "redis")


class Traffic:
    """with Traffic(provider, pillar, compiled) as traffic: ...; traffic.report()."""

    def __init__(self, provider, pillar, compiled):
        self._provider, self._pillar, self._compiled = provider, pillar, compiled
        self._running = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as opening:
            self._dialogue = opening.enter_context(phones())
            call(self._dialogue)
            self._dialogue.start_tones()
            self._start(
                "registrations", "client-1", "sip_probe.py", self._registration(), "python3"
            )
            self._start("queries", "sip-1", "pool_queries.py", self._pooler(), PYTHON)
            self._start("logins", "pbx-1", "reach.py", self._apis(), "python3")
            self._start("redis", "sip-1", "redis_logins.py", self._redis(), PYTHON)
            self._stack = opening.pop_all()
        return self

    def __exit__(self, *details):
        for process in self._running.values():
            process.kill()
        self._stack.__exit__(*details)

    def report(self):
        """End everything; {load: {"done", "failures"}}, and "held_s" of the call."""
        found = {}
        for name, process in self._running.items():
            output, _ = process.communicate(timeout=30)  # closes its standard input
            found[name] = json.loads(output)
        return found | {"held_s": self._hang_up()}

    def _hang_up(self):
        """Fails when the call has ended by itself, or its media did. For how long it sounded, s.

        By packets, not by how smooth it sounded: a busy machine starves the user agents.
        """
        self._dialogue.hold(0)
        self._dialogue.stop_tones()
        states = self._dialogue.streams()
        self._dialogue.hang_up()
        for speaker, listener in ((CALLER, CALLEE), (CALLEE, CALLER)):
            assert states[listener].is_secure
            assert states[listener].received >= states[speaker].sent * 0.99
        return self._dialogue.tone_s(CALLER)

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
            "timeout_s": 10,
        }
        ports, folder = voip["ports"]["asterisk"], "/etc/asterisk/voip"
        manager = where | {"port": ports["ami"], "path": f"{folder}/manager.conf"}
        rest = where | {"port": ports["ari"], "path": f"{folder}/ari.conf"}
        return {"do": "logins", "manager": manager, "rest": rest}

    def _redis(self):
        voip, service = self._compiled("sip-1"), self._pillar.services["openbao"]["api"]
        where = self._pillar.vault
        return {
            "redis": [voip["endpoints"]["redis"], voip["ports"]["redis"]["redis"]],
            "vault": [str(where.address), service.ports[0], where.name],
            "mount": where.kv_mount,
            "path": "hosts/sip-1/redis",
        }


def nothing_failed(report):
    """Assert it, and that each was busy. Returns what to print."""
    for name in LOADS:
        assert report[name]["failures"] == [], (name, report[name]["failures"][:5])
        assert report[name]["done"] >= 10, name
    done = ", ".join(f"{report[name]['done']} {name}" for name in LOADS)
    return f"0 failures of {done}; a call held for {report['held_s']:.0f} s"
