"""pbx-1: Asterisk speaks to the proxies over mutual TLS, and to nobody else."""

import json
from pathlib import Path

import pytest

from voip_stack.master import client

REACH = (Path(__file__).parent / "reach.py").read_bytes()
HOST = "pbx-1"
CA = "/etc/voip-stack/tls/ca.crt"
DIRECTORY = "/etc/asterisk/voip"


@pytest.fixture(scope="module")
def voip(compiled):
    return compiled(HOST)


@pytest.fixture(scope="module")
def ask(provider, voip):
    """ask(host, do, service, ...): what `reach.py` sees from host at a service of Asterisk."""

    def run(host, do, service, **more):
        where = {
            "do": do,
            "address": voip["self"]["addresses"]["internal"],
            "port": voip["ports"]["asterisk"][service],
            "name": voip["self"]["fqdn"],
            "ca": CA,
        }
        argv = ["python3", "-", json.dumps(where | more)]
        return json.loads(provider.run(host, argv, stdin=REACH).stdout)

    return run


def test_has_no_external_interface(on, voip):
    links = {link["ifname"] for link in json.loads(on(HOST, "ip", "-json", "link"))}
    assert links == {"lo", voip["self"]["interfaces"]["internal"]}


@pytest.mark.parametrize("service", ["sip-tls", "ami", "ari"])
def test_unreachable_from_outside(ask, service):
    assert ask("client-1", "tcp", service) != "open"


@pytest.mark.parametrize("host", ["media-1", "devstack"])
@pytest.mark.parametrize("service", ["sip-tls", "ami", "ari"])
def test_hosts_beside_reach_nothing(ask, host, service):
    assert ask(host, "tcp", service) != "open"


def test_the_proxy_reaches_sip_only(ask):
    assert ask("sip-1", "tcp", "sip-tls") == "open"
    assert ask("sip-1", "tcp", "ami") != "open"
    assert ask("sip-1", "tcp", "ari") != "open"


OPTIONS = (
    "OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.64.10:5071;branch=z9hG4bKlab;rport\r\n"
    "From: <sip:lab@voip.test>;tag=lab\r\nTo: <sip:pbx@voip.test>\r\nCall-ID: lab@test\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def test_mutual_tls_with_the_proxys_certificate(ask):
    pair = ["/etc/voip-stack/tls/kamailio.crt", "/etc/voip-stack/tls/kamailio.key"]
    found = ask("sip-1", "tls", "sip-tls", client=pair, text=OPTIONS)
    assert found["version"] == "TLSv1.3", found
    assert found["answer"].startswith("SIP/2.0 ")


def test_no_certificate_no_answer(ask):
    found = ask("sip-1", "tls", "sip-tls", text=OPTIONS)
    assert "certificate required" in found.get("error", ""), found


def test_older_tls_is_refused(ask):
    pair = ["/etc/voip-stack/tls/kamailio.crt", "/etc/voip-stack/tls/kamailio.key"]
    found = ask("sip-1", "tls", "sip-tls", client=pair, text=OPTIONS, version="TLSv1_2")
    assert "protocol version" in found.get("error", ""), found


@pytest.mark.parametrize("service", ["sip-tls", "ami", "ari"])
def test_cleartext_gets_nothing(ask, service):
    """From the PBX itself, where no firewall stands between."""
    text = "GET / HTTP/1.0\r\n\r\n" if service == "ari" else "Action: Ping\r\n\r\n"
    answer = ask(HOST, "plain", service, text=text)
    assert not any(word in answer for word in ("Asterisk", "HTTP/1", "SIP/2"))


def test_manager_wants_the_credential(ask, salt):
    path = f"{DIRECTORY}/manager.conf"
    assert ask(HOST, "ami_login", "ami", path=path) == "Authentication accepted"
    assert ask(HOST, "ami_login", "ami", path=path, spoil="x") == "Authentication failed"
    assert salt(HOST, "asterisk.ping") > 0


def test_manager_without_tls_takes_not_even_the_right_one(ask, voip):
    """Asterisk insists on a cleartext listener: on loopback, where no user may come from."""
    where = {"address": "127.0.0.1", "port": voip["ports"]["asterisk"]["ami"] + 1, "ca": None}
    path = f"{DIRECTORY}/manager.conf"
    assert ask(HOST, "ami_login", "ami", path=path, **where) == "Authentication failed"


def test_rest_interface_wants_the_credential(ask):
    path = f"{DIRECTORY}/ari.conf"
    assert ask(HOST, "ari", "ari", path=path) == "HTTP/1.1 200 OK"
    assert ask(HOST, "ari", "ari", path=path, spoil="x") == "HTTP/1.1 401 Unauthorized"


def test_credentials_are_asterisks_alone(on):
    for name in ("manager.conf", "ari.conf"):
        found = on(HOST, "stat", "--format", "%a %U %G", f"{DIRECTORY}/{name}").strip()
        assert found == "640 root asterisk", name


def test_listens_where_pillar_says(on, voip):
    address, ports = voip["self"]["addresses"]["internal"], voip["ports"]["asterisk"]
    lines = [line for line in on(HOST, "ss", "-Hlntp").splitlines() if '"asterisk"' in line]
    declared = {f"{address}:{ports[name]}" for name in ("sip-tls", "ami", "ari")}
    assert {line.split()[3] for line in lines} == declared | {f"127.0.0.1:{ports['ami'] + 1}"}


def test_runs_without_any_privilege(on):
    pid = on(HOST, "systemctl", "show", "--property=MainPID", "--value", "asterisk").strip()
    lines = on(HOST, "cat", f"/proc/{pid}/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == [on(HOST, "id", "-u", "asterisk").strip()] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_each_proxy_answers(salt, eventually, voip):
    """The trunk in the other direction: OPTIONS over TLS, certificates verified on both sides."""

    def reachable():
        found = salt(HOST, "asterisk.pjsip_contacts")
        return found if {item["status"] for item in found.values()} == {"Reachable"} else None

    proxies = [name for name, host in voip["hosts"].items() if "sip" in host["roles"]]
    found = eventually(reachable, seconds=voip["asterisk"]["qualify_s"] + 5, pause=1)
    assert sorted(item["endpoint"] for item in found.values()) == sorted(
        proxies * len(voip["proxies"])
    )


def test_nobody_is_a_guest(on):
    modules = on(HOST, "asterisk", "-rx", "module show like identifier")
    assert "res_pjsip_endpoint_identifier_ip.so" in modules
    assert "anonymous" not in modules


BAD = {"codecs": ["alaw", "nonsense"], "patterns": ["_1XXX,x"]}


@pytest.mark.parametrize("decision", BAD)
def test_a_refused_configuration_changes_nothing(on, salt, voip, decision):
    path = f"{DIRECTORY}/pjsip_trunks.conf"
    before = on(HOST, "cat", path), salt(HOST, "asterisk.status")["started"]
    context = {
        "own": voip["self"],
        "site": voip["site"],
        "settings": voip["asterisk"],
        "routing": voip["routing"],
        "plan": salt(HOST, "asterisk.plan") | {decision: BAD[decision]},
    }
    arguments = {
        "name": DIRECTORY,
        "source": "salt://asterisk/files",
        "files": ["pjsip_trunks.conf", "extensions.conf"],
        "check": "asterisk.check_config",
        "group": "asterisk",
        "context": context,
    }
    job = client.run([HOST], "state.single", ["voip_config.managed"], arguments)
    (ret,) = job.returns[HOST].values()
    assert (ret["result"], ret["changes"]) == (False, {}), ret
    assert "Asterisk refuses" in ret["comment"]
    assert (on(HOST, "cat", path), salt(HOST, "asterisk.status")["started"]) == before


def test_a_renewed_certificate_is_served_without_a_restart(on, ask, salt):
    before, started = _serials(ask), salt(HOST, "asterisk.status")["started"]
    on(HOST, "rm", "/etc/voip-stack/tls/asterisk.crt")
    job = client.run([HOST], "state.sls", ["asterisk"], {"queue": True})
    assert HOST not in job.failed, job.returns
    after = _serials(ask)
    assert len(set(before.values())) == len(set(after.values())) == 1
    assert set(before.values()) != set(after.values())
    assert salt(HOST, "asterisk.status")["started"] == started


def _serials(ask):
    pair = ["/etc/voip-stack/tls/asterisk.crt", "/etc/voip-stack/tls/asterisk.key"]
    texts = {"sip-tls": OPTIONS, "ami": "Action: Logoff\r\n\r\n", "ari": "GET / HTTP/1.0\r\n\r\n"}
    return {
        service: ask(HOST, "tls", service, client=pair, text=text)["serial"]
        for service, text in texts.items()
    }
