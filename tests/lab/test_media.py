"""media-1: RTPEngine is there for the SIP tier, unprivileged, and no older than is safe."""

import json
from pathlib import Path

import pytest

from voip_stack.master import client

REACH = (Path(__file__).parent / "reach.py").read_bytes()
HOST = "media-1"


@pytest.fixture(scope="module")
def voip(compiled):
    return compiled(HOST)


def relay_of(voip):
    """The relay that is at home on this host: its addresses by network."""
    return next(relay for relay in voip["relays"] if relay["name"] == HOST)


@pytest.fixture(scope="module")
def ng_from(provider, voip):
    """ng_from(host, network): the answer to a ping of its relay's address there, seen from host."""

    def ask(host, network):
        address, port = relay_of(voip)[network], voip["ports"]["rtpengine"]["ng"]
        argv = ["python3", "-", json.dumps({"do": "ng", "address": address, "port": port})]
        return json.loads(provider.run(host, argv, stdin=REACH).stdout)

    return ask


def test_the_sip_tier_gets_an_answer(ng_from, salt, voip):
    assert ng_from("sip-1", "internal") == "lab d6:result4:ponge"
    every = [relay["internal"] for relay in voip["relays"]]
    assert list(salt("sip-1", "rtpengine.ping")) == every


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("pbx-1", "internal"),
        ("devstack", "internal"),
        ("client-1", "internal"),
        ("client-1", "external"),
        ("sip-1", "external"),
    ],
)
def test_nobody_else_does(ng_from, host, network):
    assert ng_from(host, network) == "silent"


def test_status_says_user_space_and_why(salt):
    status = salt(HOST, "rtpengine.status")
    assert (status["mode"], status["reason"]) == ("userspace", "shared kernel")
    package = salt(HOST, "voip_package.status", "rtpengine")["rtpengine"]
    assert package["ok"], package
    assert status["version"] == package["version"]
    assert status["sessions"] >= 0


def test_runs_without_any_privilege(on):
    pid = on(HOST, "systemctl", "show", "--property=MainPID", "--value", "rtpengine-daemon").strip()
    lines = on(HOST, "cat", f"/proc/{pid}/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    user = on(HOST, "id", "-u", "rtpengine").strip()
    assert status["Uid"].split() == [user] * 4
    assert user != "0"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_listens_where_pillar_says(on, voip):
    relay, ports = relay_of(voip), voip["ports"]["rtpengine"]
    lines = on(HOST, "ss", "-Hlntup").splitlines()
    found = {line.split()[4] for line in lines if "rtpengine" in line}
    first, last = ports["rtp"]
    control = {item for item in found if not first <= int(item.rpartition(":")[2]) <= last}
    cli = voip["rtpengine"]["cli_port"]
    assert control == {f"{relay['internal']}:{ports['ng']}", f"127.0.0.1:{cli}"}
    media = {item.rpartition(":")[0].strip("[]") for item in found - control}
    assert media <= {relay["internal"], relay["external"], relay["ipv6"]["external"]}


def test_log_holds_no_key(on):
    log = on(HOST, "journalctl", "--unit", "rtpengine-daemon", "--no-pager", "--output", "cat")
    assert "inline:" not in log
    assert "PRIVATE KEY" not in log


# A file that the daemon does not take, in each of the ways it can be wrong.
BAD = {
    "ports in the wrong order": {"ports": {"ng": 22222, "rtp": [39999, 30000]}},
    "no number": {"settings": {"tos": "high"}},
    "an option nobody knows": {"settings": {"tos": "184\nlisten-gn = 1"}},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_refused_file_changes_nothing(on, voip, change):
    path = "/etc/rtpengine/rtpengine.conf"
    before = on(HOST, "cat", path), _started(on)
    context = {
        "addresses": {network: relay_of(voip)[network] for network in ("internal", "external")},
        "cli_port": voip["rtpengine"]["cli_port"],
        "database": None,
        "spool": "/run/voip-recording",
        "ports": voip["ports"]["rtpengine"] | change.get("ports", {}),
        "settings": voip["rtpengine"] | change.get("settings", {}),
        "forwarding": {"mode": "userspace", "reason": "a test"},
    }
    ret = _single(
        "voip_config.managed",
        name="/etc/rtpengine",
        source="salt://rtpengine/files",
        files=["rtpengine.conf"],
        check="rtpengine.check_config",
        group="rtpengine",
        context=context,
    )
    assert ret["result"] is False, ret
    assert ret["changes"] == {}
    assert (on(HOST, "cat", path), _started(on)) == before


def test_an_older_rtpengine_is_refused_by_name():
    older = {"rtpengine": {"debs": {"rtpengine-daemon": "10.5.3.5-1"}}}
    override = {"pillar": {"voip": {"packages": older}}, "queue": True}
    job = client.run([HOST], "state.sls", ["rtpengine.installed"], override)
    (ret,) = job.returns[HOST].values()
    assert ret["result"] is False, ret
    assert "rtpengine 10.5.3.5-1 is refused" in ret["comment"]
    assert "CVE-2025-53399" in ret["comment"]


def _single(function, **arguments):
    """The return of one state on media-1, failed or not."""
    job = client.run([HOST], "state.single", [function], arguments)
    (ret,) = job.returns[HOST].values()
    return ret


def _started(on):
    return on(
        HOST, "systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "rtpengine-daemon"
    )
