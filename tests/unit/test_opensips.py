"""OpenSIPS: the same routing as Kamailio's, generated files, what its MI tells, its TLS tables."""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import opensips as module  # noqa: E402
import voip_kamailio  # noqa: E402
import voip_opensips  # noqa: E402
import voip_proxy  # noqa: E402
from voip_errors import NotFound, Unavailable  # noqa: E402

from tests.unit.control_socket import answering  # noqa: E402
from voip_stack.pillar import compile_for, load  # noqa: E402

# What OpenSIPS 3.6.8 answered, by MI.
MI = json.loads(Path(__file__).with_name("opensips_mi.json").read_text())
ROUTING = CHECKOUT / "salt/opensips/files"
# Routes that one of them needs and the other does with a function of its own.
OWN = {
    "ACCOUNT", "DISCONNECTED", "FORGET", "IS_PBX", "NOTE_CONTACT", "NOTE_TLS", "RESPONSE",
    "TO_CONNECTION",
}  # fmt: skip


@pytest.fixture
def voip():
    from voip_stack.pillar.schema import Pillar

    pillar = load(CHECKOUT / "pillar")
    roles = pillar.roles | {"sip": ["pgbouncer", "kamailio", "opensips"]}
    return compile_for(Pillar.model_validate(dict(pillar) | {"roles": roles}), "sip-1", {})


@pytest.fixture
def values(voip):
    return voip_opensips.values(voip, "/modules/")


# -------------------------------------------------------------------- side by side with Kamailio


def routes(component, main):
    """[(file, route), ...] in the order in which the main file includes them."""
    root = CHECKOUT / "salt" / component / "files"
    text = (root / main).read_text()
    files = re.findall(r'include_file "(routes/\w+\.cfg)"', text)
    # A timer's has its seconds beside its name.
    kinds = r"^(?:timer_)?((?:branch_|failure_|onreply_)?route\[\w+)(?:, \d+)?\]"
    return [
        (name, route)
        for name in files
        for route in re.findall(kinds, (root / name).read_text(), re.MULTILINE)
        if route.partition("[")[2] not in OWN
    ]


def entry(component, main):
    text = (CHECKOUT / "salt" / component / "files" / main).read_text()
    return re.findall(r"^\troute\((\w+)\);", text, re.MULTILINE)


def test_both_proxies_have_the_same_routes_in_the_same_order():
    assert routes("opensips", "opensips.cfg") == routes("kamailio", "kamailio.cfg")
    assert entry("opensips", "opensips.cfg") == entry("kamailio", "kamailio.cfg")


def test_both_answer_with_the_same_words():
    """Code and phrase of every refusal, wherever it is."""
    found = {}
    for component in ("kamailio", "opensips"):
        text = "\n".join(
            path.read_text() for path in (CHECKOUT / "salt" / component).rglob("*.cfg")
        )
        found[component] = set(re.findall(r'reply\("?(\d{3})"?, "([^"]+)"\)', text))
    # Of a message that is none, one has words of its module.
    assert found["kamailio"] <= found["opensips"]
    assert found["opensips"] - found["kamailio"] == {("400", "Bad Request")}


def test_policy_is_the_same(voip, values):
    ours = dict(voip_proxy.shared_values(voip, "opensips", voip_opensips.CONFIG_DIR))
    assert {name: str(value) for name, value in ours.items()}.items() <= values.items()
    of_kamailio = {
        name: str(value)
        for name, value in voip_proxy.shared_values(voip, "kamailio", voip_kamailio.CONFIG_DIR)
    }
    differing = {name for name, value in of_kamailio.items() if values[name] != value}
    own = {"V_TABLES_DIR", "V_TCP_WORKERS", "V_TLS_PORT", "V_WSS_PORT", "V_OWN_PORTS"}
    own.add("V_LOCATION_NAME")
    assert differing == own


def test_both_count_the_same():
    counted = []
    for component in ("kamailio", "opensips"):
        text = (CHECKOUT / "salt" / component / "files/modules.cfg").read_text()
        counted.append(re.findall(r'"statistics", "variable", "(\w+)"', text))
    assert counted[0] == counted[1]


# -------------------------------------------------------------------- generated files


def routing_text():
    return {path: path.read_text() for path in ROUTING.rglob("*.cfg")}


def test_every_value_that_the_routing_names_is_defined_and_used(values):
    named = set(re.findall(r"\bV_[A-Z0-9_]+\b", "\n".join(routing_text().values())))
    assert named == set(values)


def test_values_take_the_place_of_whole_words(values):
    text = voip_opensips.substituted('if ($rd == "V_DOMAIN" && $rp == V_TLS_PORT)', values)
    assert text == 'if ($rd == "voip.test" && $rp == 5061)'
    with pytest.raises(KeyError, match="V_NOBODY"):
        voip_opensips.substituted("V_NOBODY", values)


def test_routing_holds_no_address_no_port_and_no_jinja():
    for path, text in routing_text().items():
        code = "\n".join(line.partition("#")[0] for line in text.splitlines())
        assert not re.search(r"\d+\.\d+\.\d+\.\d+", code), path
        assert not re.search(r"\b(5060|5061|8080|8443|22222)\b", text), path
        assert "{{" not in text, path


def test_sockets_are_those_of_the_pillar(voip):
    text = voip_opensips.sockets(voip)
    assert "socket=tls:198.18.64.10:5061\n" in text
    assert "socket=wss:[fd64:c612:4000::10]:8443\n" in text
    assert "socket=tls:198.18.64.11:5061 as 198.18.64.11:5061\n" in text
    assert text.count("socket=") == 25
    assert "alias=tls:voip.test:5061\n" in text


def test_a_loop_is_known_by_each_own_address(values):
    assert re.search(values["V_OWN_PATTERN"], "SIP/2.0/TLS 198.18.64.10:5061")
    assert not re.search(values["V_OWN_PATTERN"], "SIP/2.0/TLS 198.18.64.210:5061")
    assert re.search(values["V_OWN_PATTERN"], "SIP/2.0/TLS [fd64:c612:4000::10]:5061")


def rows(text):
    """Rows of a db_text table: a colon that is not escaped ends a field."""
    head, *lines = text.splitlines()
    return [re.split(r"(?<!\\):", line) for line in lines], head


def test_tables_name_peers_relays_and_features(voip):
    voip = voip | {
        "subscribers": {"record": ["1002"], "dtls": ["1002"]},
        "relays": [voip["relays"][0], voip["relays"][1] | {"drained": True}],
    }
    voip["routing"]["cleartext_trunks"] = ["192.168.64.77"]
    found = voip_opensips.tables(voip)
    (pbx,), _ = rows(found["tables/dispatcher"])
    assert pbx[2] == "sip\\:192.168.64.30\\:5061;transport=tls"
    assert pbx[8] == "pbx-1.voip.test"
    assert [row[2] for row in rows(found["tables/address"])[0]] == ["192.168.64.77"]
    assert [row[1:4] for row in rows(found["tables/grp"])[0]] == [
        ["1002", "voip.test", "dtls"],
        ["1002", "voip.test", "record"],
    ]
    classes = {row[1]: row[2] for row in rows(found["tables/destination"])[0]}
    assert classes["+49"] == "national"
    # A drained one has no weight.
    urls = [row[1].replace("\\", "") for row in rows(found["tables/rtpengine"])[0]]
    assert urls == ["udp:192.168.64.120:22222=1", "udp:192.168.64.121:22222=0"]
    for name, text in found.items():
        if name.startswith("tables/"):
            listed, head = rows(text)
            assert {len(row) for row in listed} <= {len(head.split())}, name


def test_certificates_are_demanded_inside_and_given_outside(voip):
    text = voip_opensips.tls_settings(voip, crl="/x/opensips.crl")
    inside, outside, peers = json.loads(text)["domains"]
    assert inside["match_ip_address"] == "192.168.64.10:5061,192.168.64.10:8443"
    assert [item["require_cert"] for item in (inside, outside, peers)] == [1, 0, 1]
    assert {item["method"] for item in (inside, outside, peers)} == {"TLSv1_2-TLSv1_3"}
    assert voip_opensips.revocation_file(text) == "/x/opensips.crl"
    assert voip_opensips.revocation_file(voip_opensips.tls_settings(voip)) is None
    assert voip_opensips.revocation_file("") is None


def test_reasons_of_the_parser():
    output = (
        "Nov 28 21:40:15 [1] CRITICAL:Traceback (last included file at the bottom):\n"
        "Nov 28 21:40:15 [1] CRITICAL:core:yyerror: parse error in /x/a.cfg:35:24: syntax error\n"
        "Nov 28 21:40:15 [1] CRITICAL:tcp_keepcount=3\n"
        "Nov 28 21:40:15 [1] ERROR:core:main: failed to parse config file /x/a.cfg\n"
    )
    assert voip_opensips.check_errors(output) == [
        "parse error in /x/a.cfg:35:24: syntax error",
        "failed to parse config file /x/a.cfg",
    ]


# -------------------------------------------------------------------- the certificate's table


@pytest.fixture
def tls_tables():
    spec = importlib.util.spec_from_file_location("tls_tables", ROUTING / "tls_tables.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def laid(tls_tables, voip, tmp_path, monkeypatch):
    """laid(): lay the tables out in tmp_path; returns the directory."""
    settings = json.loads(voip_opensips.tls_settings(voip, crl=str(tmp_path / "crl.pem")))
    for name in ("certificate", "private_key", "ca_list"):
        settings[name] = str(tmp_path / name)
        (tmp_path / name).write_text(f"-----BEGIN {name}-----\nMII:B\\\n-----END {name}-----\n")
    settings["directory"] = str(tmp_path / "tls")
    monkeypatch.setattr(tls_tables.grp, "getgrnam", lambda name: type("G", (), {"gr_gid": 0}))
    monkeypatch.setattr(tls_tables.os, "chown", lambda *args: None)

    def lay():
        tls_tables.main(settings)
        return tmp_path / "tls"

    return lay


def test_the_pair_itself_is_in_the_table(laid):
    directory = laid()
    listed, head = rows((directory / "tls_mgm").read_text())
    columns = [column.partition("(")[0] for column in head.split()]
    inside = dict(zip(columns, listed[0], strict=True))
    assert inside["private_key"].startswith("-----BEGIN private_key-----\\nMII\\:B\\\\\\n")
    assert (inside["crl_dir"], inside["ca_dir"]) == ("", str(directory / "crl"))
    assert (directory / "opensips_version").read_text().endswith("\ntls_mgm:3\n")
    assert (directory / "tls_mgm").stat().st_mode & 0o777 == 0o640


def test_each_revocation_list_has_a_file_of_its_own(laid, tmp_path):
    pem = "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n"
    (tmp_path / "crl.pem").write_text(pem.format("one") + pem.format("two"))
    directory = laid()
    assert [path.read_text() for path in sorted((directory / "crl").iterdir())] == [
        pem.format("one"),
        pem.format("two"),
    ]
    assert f":{directory}/crl:" in (directory / "tls_mgm").read_text()
    (tmp_path / "crl.pem").write_text(pem.format("three"))
    laid()
    assert [path.name for path in (directory / "crl").iterdir()] == ["0.pem"]


def test_a_table_replaced_within_a_second_is_newer(laid):
    """db_text reads a table again by whole seconds of its time."""
    times = [int((laid() / "tls_mgm").stat().st_mtime) for _ in range(3)]
    assert times == sorted(set(times))


# -------------------------------------------------------------------- the module, against a socket


class Answers(dict):
    def __init__(self, *args):
        super().__init__(*args)
        self.asked = []


@pytest.fixture
def proxy(tmp_path, monkeypatch):
    """A control socket that answers from a table {method: result, or an exception}.

    Of a collection: {"method collection": result}. What was asked is in its `asked`.
    """
    path = tmp_path / "mi.sock"
    monkeypatch.setattr(module, "CONTROL_SOCKET", str(path))
    answers = Answers(MI)

    def reply(request):
        answers.asked.append((request["method"], request["params"]))
        name = " ".join([request["method"], request["params"].get("collection", "")])
        answer = answers.get(name.strip(), LookupError("Method not found"))
        if not isinstance(answer, Exception):
            return {"result": answer}
        code = 404 if "AOR" in str(answer) else -32601
        return {"error": {"code": code, "message": str(answer)}}

    with answering(path, reply):
        yield answers


def test_connections_have_the_cipher_that_the_routing_noted(proxy):
    pbx, device = module.connections()
    assert (pbx["remote"], pbx["tls"]) == ("192.168.64.30:32902", None)
    assert device["remote"] == "[fd64:c612:4000::100]:41992"
    assert device["local"] == "[fd64:c612:4000::10]:8443"
    assert (device["tls"], device["cipher"]) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")


def test_registrations(proxy):
    (contact,) = module.registrations(1001)
    assert contact["received"] == "sip:198.18.64.10:41992;transport=tls"
    proxy["ul_show_contact"] = LookupError("AOR not found")
    assert module.registrations("1009") == []
    with pytest.raises(NotFound):
        module.mi("ul_show_contact", aor="1009")


def test_a_refusal_is_told(proxy):
    with pytest.raises(CommandExecutionError, match="Method not found"):
        module.mi("no_such")


def test_digests_are_forgotten_and_not_told(proxy):
    proxy["cache_remove_chunk known"] = "OK"
    module.forget_subscribers()
    for asked in ({"collection": "known", "glob": "*"}, {"system": "local:known", "attr": "1001"}):
        with pytest.raises(CommandExecutionError, match="digests are not told"):
            module.mi("cache_fetch", **asked)
    assert [method for method, _ in proxy.asked] == ["cache_remove_chunk"]


def test_status_of_a_running_proxy(proxy):
    found = module.status()
    assert found["version"].startswith("OpenSIPS (3.6.8")
    assert found["uptime_s"] == 25
    assert found["registered_users"] == 2
    assert found["counters"]["cleartext_refused"] == 3
    assert (module.pool_used(), module.pool_size()) == (12582912, 134217728)
    assert [row["state"] for row in found["media"]] == ["active", "drained"]


def test_who_is_shut_out_and_let_in_again(proxy):
    """An IPv6 network as people write it; who was let in by the time is not told."""
    assert [(row["source"], row["reason"]) for row in module.bans()] == [
        ("198.18.64.99", "flood"),
        ("fd64:c612:4000::/64", "auth"),
    ]
    proxy["cache_remove"] = "OK"
    assert module.unban("198.18.64.98") is False
    assert module.unban("fd64:c612:4000::10") is True
    removed = [params for method, params in proxy.asked if method == "cache_remove"]
    assert removed == [
        {"system": f"local:{name}", "attr": "fd64:c612:4000:0::"} for name in ("ipban", "authfail")
    ]


def test_a_call_is_told_without_its_keys(proxy):
    assert module.dialogs() == [
        {
            "call_id": "7fcabc26",
            "from": "sip:1001@voip.test",
            "to": "sip:1002@192.168.64.10",
            "state": "confirmed",
            "since": 1795905810,
            "ref": "20bd881c9c37eee9",
        }
    ]


def test_a_proxy_reaches_its_peers(proxy):
    assert module.reaches_peers()
    proxy["rtpengine_show"] = [{"Set": 0, "Nodes": []}]
    with pytest.raises(CommandExecutionError, match="RTPEngine"):
        module.reaches_peers()


def test_reload_calls_what_the_files_need(proxy, monkeypatch):
    laid = []
    monkeypatch.setattr(module, "_lay_tls_tables", lambda: laid.append(True))
    proxy |= {"tls_reload": "OK", "ds_reload": "OK"}
    proxy["sql_cacher_reload"] = "OK"
    names = ["tls.json", "tables/destination", "tables/dispatcher", "tables/grp"]
    assert module.reload_tables(names) == ["sql_cacher_reload", "ds_reload", "tls_reload"]
    assert laid == [True]


def test_a_proxy_that_does_not_run_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONTROL_SOCKET", str(tmp_path / "mi.sock"))
    with pytest.raises(Unavailable):
        module.ping()
    monkeypatch.setattr(module, "CONTROL_SOCKET", os.path.join(tmp_path, "absent", "mi.sock"))
    with pytest.raises(Unavailable):
        module.ping()
