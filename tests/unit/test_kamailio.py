"""The proxy: generated files, what its RPC tells, the module on a socket, the states' beats."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import kamailio as module  # noqa: E402
import voip_kamailio  # noqa: E402
import voip_proxy  # noqa: E402
from voip_errors import NotFound, Unavailable  # noqa: E402

from tests.unit.control_socket import answering  # noqa: E402
from voip_stack.pillar import compile_for, load  # noqa: E402

# What Kamailio 6.0.1 answered during a call, by RPC.
RPC = json.loads(Path(__file__).with_name("kamailio_rpc.json").read_text())
ROUTING = CHECKOUT / "salt/kamailio/files"


def _load_state():
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "voip_proxy_state", CHECKOUT / "_states/voip_proxy.py"
    )
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def voip():
    return compile_for(load(CHECKOUT / "pillar"), "sip-1", {"provider": "lab"})


def routing_text():
    return {path: path.read_text() for path in ROUTING.rglob("*.cfg")}


# -------------------------------------------------------------------- generated files


def test_every_value_that_the_routing_names_is_defined_and_used(voip):
    defined = set(re.findall(r'substdef "!(V_\w+)!', voip_kamailio.defines(voip)))
    named = set(re.findall(r"\bV_[A-Z0-9_]+\b", "\n".join(routing_text().values())))
    # Within comments, V_SOMETHING_* stands for a family.
    named = {name for name in named if not name.endswith("_")}
    assert named - defined == set()
    assert defined - named == set()


def test_no_value_name_is_the_beginning_of_another(voip):
    """The substitution is by text: V_WS would also replace the beginning of V_WSS."""
    names = re.findall(r'substdef "!(V_\w+)!', voip_kamailio.defines(voip))
    assert [(a, b) for a in names for b in names if a != b and b.startswith(a)] == []


def test_routing_holds_no_address_no_port_and_no_jinja():
    for path, text in routing_text().items():
        code = "\n".join(line.partition("#")[0] for line in text.splitlines())
        assert not re.search(r"\d+\.\d+\.\d+\.\d+", code), path
        assert not re.search(r"\b(5070|5071|5061|8090|8444|22222)\b", text), path
        assert "{{" not in text, path
        assert "{%" not in text, path


def test_routes_are_small():
    for path, text in routing_text().items():
        for block in re.findall(r"(?ms)^\w*route\[\w+\].*?^}", text):
            assert block.count("\n") <= 53, (path, block.splitlines()[0])


def test_defines_hold_no_credential(voip):
    assert "postgres://kamailio@/kamailio" in voip_kamailio.defines(voip)


def test_only_the_suites_of_the_policy_are_offered():
    flags = dict(voip_proxy.media_flags(["AES_CM_128_HMAC_SHA1_80"]))
    assert "SDES-no-NULL_HMAC_SHA1_80" in flags["V_MEDIA_PBX"]
    assert "SDES-no-AES_CM_128_HMAC_SHA1_80" not in flags["V_MEDIA_PBX"]
    assert " RTP/SAVP " in flags["V_MEDIA_DEVICE"]
    assert "UDP/TLS/RTP/SAVPF" in flags["V_MEDIA_BROWSER"]
    assert all("strict-source" in value for value in flags.values())


def sections(text):
    parts = re.split(r"(?m)^\[(.*)\]$", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_tls_demands_certificates_inside_and_offers_old_tls_nowhere(voip):
    found = sections(voip_kamailio.tls_config(voip))
    internal = voip["self"]["addresses"]["internal"]
    assert set(found) == {
        "server:default",
        "client:default",
        f"server:{internal}:5071",
        f"server:{internal}:8444",
    }
    for name, text in found.items():
        assert "method = TLSv1.2+" in text
        mutual = name != "server:default"
        assert ("require_certificate = yes" in text) is mutual
        assert ("verify_certificate = yes" in text) is mutual


def test_tables_name_the_pbxs_and_the_trunks(voip):
    voip["routing"]["cleartext_trunks"] = ["198.18.64.50"]
    found = voip_kamailio.tables(voip)
    assert (
        "1 sip:192.168.64.30:5061;transport=tls 0 0 socket=tls:192.168.64.10:5071"
        in found["dispatcher.list"].splitlines()
    )
    lines = found["address.list"].splitlines()
    assert "1 192.168.64.30 32 0 pbx-1.voip.test" in lines
    assert "2 198.18.64.50 32 0 trunk" in lines


def test_a_proxy_without_an_external_side_does_not_listen_there(voip):
    del voip["self"]["addresses"]["external"]
    assert "WITH_EXTERNAL" not in voip_kamailio.defines(voip)


@pytest.mark.parametrize(
    ("current", "wanted", "names"),
    [
        ({}, {}, []),
        ({"a": "1\n"}, {"a": "1\n"}, []),
        ({}, {"a": "1\n"}, ["a"]),
        ({"a": "1\n"}, {}, ["a"]),
        ({"a": "1\n", "b": "2\n"}, {"a": "1\n", "b": "3\n"}, ["b"]),
    ],
)
def test_changed_files(current, wanted, names):
    assert list(voip_proxy.changed_files(current, wanted)) == names


def test_a_long_diff_is_cut():
    changes = voip_proxy.changed_files({}, {"a": "line\n" * 500}, limit_lines=10)
    assert changes["a"].splitlines()[-1] == "... 493 more lines"


def test_reasons_of_the_parser():
    output = (
        " 0(27720) ERROR: <core> [core/cfg.y:3907]: yyparse(): cfg. parser: failed to find command "
        "nosuch (params 0)\n"
        " 0(27720) CRITICAL: <core> [core/cfg.y:4048]: yyerror_at(): parse error in config file "
        "/tmp/x/routes/media.cfg, line 103, column 19: unknown command, missing loadmodule?\n"
        "Listening on\n"
    )
    reasons = voip_kamailio.check_errors(output)
    assert len(reasons) == 2
    assert reasons[1].startswith("parse error in config file /tmp/x/routes/media.cfg, line 103")


# -------------------------------------------------------------------- what the RPC tells


def test_connections():
    first = voip_kamailio.tls_connections(RPC["tls.list"])[0]
    assert first["remote"].startswith("198.18.64.100:")
    assert {
        key: first[key] for key in ("local", "tls", "cipher", "bits", "server_name", "state")
    } == {
        "local": "198.18.64.10:5071",
        "tls": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "bits": 256,
        "server_name": "sip.voip.test",
        "state": "established",
    }


def test_a_secure_websocket_is_a_tls_connection_with_what_its_handshake_told():
    row = {"id": 30, "type": "WSS", "state": "CONN_OK", "src_ip": "198.18.64.100",
           "src_port": 58576, "dst_ip": "198.18.64.10", "dst_port": 8444}  # fmt: skip
    slot = [{"name": "30", "value": "TLSv1.3 TLS_AES_256_GCM_SHA384", "type": "str"}]
    answer = [row, row | {"id": 31, "type": "TLS"}, row | {"id": 32}]
    found = voip_kamailio.websockets(answer, [{"entry": 1373, "size": 1, "slot": slot}])
    assert [(item["id"], item["tls"], item["cipher"]) for item in found] == [
        (30, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (32, None, None),
    ]
    assert found[0]["remote"] == "198.18.64.100:58576"
    assert found[0]["local"] == "198.18.64.10:8444"
    assert found[0]["state"] == "established"


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (
            "ECDHE-ECDSA-AES128-GCM-SHA256 TLSv1.2 Kx=ECDH Au=ECDSA Enc=AESGCM(128) Mac=AEAD",
            ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2", 128),
        ),
        (
            "TLS_CHACHA20_POLY1305_SHA256 TLSv1.3 Kx=any Enc=CHACHA20/POLY1305(256) Mac=AEAD",
            ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", 256),
        ),
        ("unknown", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_cipher_descriptions(description, expected):
    entry = voip_kamailio.tls_connections([{"cipher": description}])[0]
    assert (entry["cipher"], entry["tls"], entry["bits"]) == expected


def test_contacts():
    (contact,) = voip_kamailio.contacts(RPC["ul.lookup location 1001"])
    assert contact["contact"].startswith("sip:1001@198.18.64.100:")
    assert contact["received"].endswith(";transport=tls")
    assert contact["expires_s"] > 0
    assert contact["user_agent"] is None


def test_destinations():
    (pbx,) = voip_kamailio.destinations(RPC["dispatcher.list"])
    assert pbx["uri"] == "sip:192.168.64.30:5061;transport=tls"
    assert pbx["state"] == "active"


def test_dialogs_know_the_first_leg():
    (dialog,) = voip_kamailio.dialogs(RPC["dlg.list"])
    assert dialog["state"] == "confirmed"
    assert dialog["ref"] == dialog["call_id"]


def test_statistics_and_relays():
    assert voip_kamailio.statistics(["script:scanners_dropped = 3"]) == {"scanners_dropped": 3}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"disabled": False, "active": True}, "active"),
        ({"disabled": False, "active": False}, "inactive"),
        ({"disabled": True, "active": False}, "inactive"),
        ({"weight": 0, "disabled": False, "active": True}, "drained"),
    ],
)
def test_media_relays(told, state):
    (row,) = RPC["rtpengine.show all"]
    assert voip_kamailio.media_relays([row | told]) == [{"url": row["url"], "state": state}]


# -------------------------------------------------------------------- the module, against a socket


@pytest.fixture
def proxy(tmp_path, monkeypatch):
    """A control socket that answers from a table {method: result, or an exception}."""
    path = tmp_path / "rpc.sock"
    monkeypatch.setattr(module, "CONTROL_SOCKET", str(path))
    answers = {}

    def reply(request):
        answer = answers.get(request["method"], LookupError("Method Not Found"))
        if isinstance(answer, Exception):
            return {"error": {"code": 500, "message": str(answer)}}
        return {"result": answer}

    with answering(path, reply):
        yield answers


def test_an_absent_user_has_no_registrations(proxy):
    proxy["ul.lookup"] = LookupError("AOR not found in location table")
    assert module.registrations("1001") == []
    with pytest.raises(NotFound):
        module.rpc("ul.lookup", "location", "1001")


def test_a_refusal_is_told(proxy):
    with pytest.raises(CommandExecutionError, match="Method Not Found"):
        module.rpc("no.such")


def test_status_of_a_running_proxy(proxy):
    proxy |= {key.split()[0]: value for key, value in RPC.items()}
    proxy["stats.get_statistics"] = RPC["stats.get_statistics usrloc:"]
    proxy["core.tcp_list"] = []
    found = module.status()
    assert found["dialogs"] == 1
    assert found["registered_users"] == 2
    assert found["pbxs"][0]["state"] == "active"
    assert [row["source"] for row in found["bans"]] == ["198.18.64.99"]


@pytest.mark.parametrize(
    ("active", "pbxs", "words"),
    [(True, "dispatcher.list", None), (False, "dispatcher.list", "RTPEngine"), (True, None, "PBX")],
)
def test_a_proxy_reaches_its_peers(proxy, active, pbxs, words):
    (row,) = RPC["rtpengine.show all"]
    proxy |= {"rtpengine.ping": {}, "rtpengine.show": [row | {"active": active}]}
    proxy["dispatcher.list"] = RPC[pbxs] if pbxs else {"NRSETS": 0, "RECORDS": []}
    if words is None:
        assert module.reaches_peers()
        return
    with pytest.raises(CommandExecutionError, match=words):
        module.reaches_peers()


def test_reload_calls_what_the_files_need(proxy):
    proxy |= {"tls.reload": {}, "dispatcher.reload": {}}
    assert module.reload_tables(["tls.cfg", "dispatcher.list", "other"]) == [
        "dispatcher.reload",
        "tls.reload",
    ]


def test_a_proxy_that_does_not_run_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONTROL_SOCKET", str(tmp_path / "rpc.sock"))
    with pytest.raises(Unavailable):
        module.ping()
    monkeypatch.setattr(module, "CONTROL_SOCKET", str(tmp_path / "absent/rpc.sock"))
    with pytest.raises(Unavailable):
        module.ping()


# -------------------------------------------------------------------- the states' three beats


@pytest.fixture(params=[False, True], ids=["apply", "test"])
def testmode(request):
    return request.param


def state(drift, testmode, is_running=True, refused=None):
    """The state module with a host on which `drift` is to do; records what it called."""
    called = []

    def check(*args, **kwargs):
        called.append("check")
        if refused:
            raise CommandExecutionError(refused)

    loaded = _load_state()
    loaded.__opts__ = {"test": testmode}
    loaded.__pillar__ = {"voip": {}}
    loaded.__env__ = "base"
    loaded.voip_proxy = SimpleNamespace(
        current_files=lambda name, files: dict.fromkeys(files, "old\n"),
        changed_files=voip_proxy.changed_files,
    )
    loaded.__salt__ = {
        "kamailio.routing_files": lambda source, voip, saltenv: {"kamailio.cfg": "new\n"},
        "kamailio.tables": lambda voip: {"tls.cfg": "new\n"},
        "kamailio.reload_tables": lambda files: called.append("reload") or ["tls.reload"],
        "voip_config.changes": lambda name, wanted, **owner: drift,
        "voip_config.check": check,
        "voip_config.install": lambda *args, **kwargs: called.append("install"),
        "service.status": lambda name: is_running,
    }
    return loaded, called


def test_routing_as_declared_is_left_alone(testmode):
    loaded, called = state({}, testmode)
    ret = loaded.configured("/etc/kamailio/voip", "kamailio", "salt://kamailio/files")
    assert (ret["result"], ret["changes"], called) == (True, {}, [])


def test_routing_is_checked_before_it_is_replaced(testmode):
    loaded, called = state({"kamailio.cfg": "content"}, testmode)
    ret = loaded.configured("/etc/kamailio/voip", "kamailio", "salt://kamailio/files")
    assert ret["result"] is (None if testmode else True)
    assert "+new" in ret["changes"]["kamailio.cfg"]
    assert called == ([] if testmode else ["check", "install"])


def test_refused_routing_replaces_nothing():
    loaded, called = state({"kamailio.cfg": "content"}, False, refused="line 3: no such thing")
    ret = loaded.configured("/etc/kamailio/voip", "kamailio", "salt://kamailio/files")
    assert ret["result"] is False
    assert ret["changes"] == {}
    assert "line 3" in ret["comment"]
    assert called == ["check"]


@pytest.mark.parametrize("is_running", [True, False])
def test_tables_are_read_again_by_a_running_proxy(testmode, is_running):
    loaded, called = state({"tls.cfg": "content"}, testmode, is_running)
    ret = loaded.tables("/etc/kamailio/voip", "kamailio")
    assert ret["result"] is (None if testmode else True)
    wanted = [] if testmode else ["install", "reload"] if is_running else ["install"]
    assert called == wanted


# -------------------------------------------------------------------- features of subscribers


def test_features_are_rows_of_numbers_that_have_one(voip):
    voip = voip | {"subscribers": {"record": ["1001", "1002"], "dtls": ["1002"]}}
    head, *rows = voip_kamailio.feature_table(voip).splitlines()
    assert head.split()[0] == "key_name(string)"
    assert rows == [
        r"1001\:\:record:0:1:1:0",
        r"1002\:\:dtls:0:1:1:0",
        r"1002\:\:record:0:1:1:0",
    ]
    without = voip | {"subscribers": {"record": [], "dtls": []}}
    assert voip_kamailio.feature_table(without).count("\n") == 1


def test_destinations_are_prefixes_with_their_class(voip):
    voip["toll"]["destinations"] = {"national": ["+49"], "mobile": ["+4915", "+4916"]}
    _, *rows = voip_kamailio.destination_table(voip["toll"]).splitlines()
    assert rows == ["+49:0:0:national:0", "+4915:0:0:mobile:0", "+4916:0:0:mobile:0"]


def test_nothing_outside_is_allowed_unless_pillar_says_so(voip):
    assert '"!V_DESTINATIONS!none!g"' in voip_kamailio.defines(voip)
    voip["toll"]["allowed"] = ["national", "europe"]
    assert '"!V_DESTINATIONS!europe,national!g"' in voip_kamailio.defines(voip)


def test_bans_are_told_as_people_write_sources():
    slots = [
        {"name": "198.51.100.7", "value": "flood 1100"},
        {"name": "2001:db8:0:a::", "value": "auth 1900"},
        {"name": "198.51.100.8", "value": "auth 900"},
    ]
    entries = voip_kamailio.table_entries([{"slot": slots[:2]}, {"slot": slots[2:]}])
    assert voip_proxy.bans(entries, 1000.5) == [
        {"source": "198.51.100.7", "reason": "flood", "left_s": 100},
        {"source": "198.51.100.8", "reason": "auth", "left_s": 0},
        {"source": "2001:db8:0:a::/64", "reason": "auth", "left_s": 900},
    ]


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:0:a::/64", "2001:db8:0:a::"),
        ("2001:0db8:0:a:0:0:0:1", "2001:db8:0:a::"),
        ("2001:db8::1", "2001:db8:0:0::"),
    ],
)
def test_a_source_is_found_however_it_is_written(source, key):
    assert voip_proxy.ban_key(source) == key


def test_a_ban_is_lifted_with_its_wrong_passwords(monkeypatch):
    called = []

    def rpc(method, *params, timeout_s=5):
        called.append((method, *params))
        return RPC["htable.dump ipban"]

    monkeypatch.setattr(module, "rpc", rpc)
    assert module.unban("198.18.64.98") is False
    assert module.unban("198.18.64.99") is True
    deleted = [call[1:] for call in called if call[0] == "htable.delete"]
    assert deleted == [("ipban", "198.18.64.99"), ("authfail", "198.18.64.99")]
    with pytest.raises(SaltInvocationError, match="expected: nobody"):
        module.unban("nobody")


@pytest.mark.parametrize("words", ["htable.reload: No htable db_url", "x: No such htable"])
def test_a_routing_without_the_table_is_no_error(monkeypatch, words):
    def rpc(method, *params):
        assert (method, *params) == ("htable.reload", "feature")
        raise CommandExecutionError(words)

    monkeypatch.setattr(module, "rpc", rpc)
    assert module.reload_tables(["tables/feature"]) == ["htable.reload"]


@pytest.mark.parametrize("words", ["try later", "ongoing reload"])
def test_a_reload_that_comes_too_soon_is_tried_again(monkeypatch, words):
    answers = [CommandExecutionError(f"x: {words}"), "done"]

    def rpc(method, *params):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "rpc", rpc)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    assert module.reload_tables(["address.list"]) == ["permissions.addressReload"]
    assert answers == []


def test_another_error_of_a_reload_is_one(monkeypatch):
    def rpc(method, *params):
        raise CommandExecutionError(f"{method}: refused")

    monkeypatch.setattr(module, "rpc", rpc)
    with pytest.raises(CommandExecutionError, match="refused"):
        module.reload_tables(["tls.cfg"])
