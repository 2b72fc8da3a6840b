"""Asterisk: AMI's text, the dialplan's decisions, the templates, what makes a trial fail."""

import sys
from pathlib import Path

import jinja2
import pytest
from salt.exceptions import CommandExecutionError

from voip_stack.pillar import load
from voip_stack.pillar.compile import compile_for

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / name) for name in ("_utils", "_modules")]

import voip_ami  # noqa: E402
import voip_asterisk  # noqa: E402

FILES = CHECKOUT / "salt/asterisk/files"
VOIP = compile_for(load(CHECKOUT / "pillar"), "pbx-1", {})
VOIP["subscribers"]["forwards"] = {
    "1002": {"always": "1001", "busy": "1003"},
    "1003": {"busy": "1001", "unreachable": "+4930123456", "after_s": 20, "voicemail": "77"},
}


def test_action_is_lines_and_an_empty_one():
    data = voip_ami.encode("Login", Username="voip", Secret="x: y")
    assert data == b"Action: Login\r\nUsername: voip\r\nSecret: x: y\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nAction: Command", "a\nb"])
def test_no_action_within_a_field(value):
    with pytest.raises(ValueError, match="line break"):
        voip_ami.encode("Getvar", Variable=value)


def test_messages_are_split_and_the_cut_one_waits():
    banner = b"Asterisk Call Manager/11.0.0\r\n"
    whole = b"Response: Success\r\nActionID: a1\r\n\r\nEvent: X\r\nUri: sip:a:5061\r\n\r\n"
    messages, rest = voip_ami.split(banner + whole + b"Event: Y\r\n")
    assert messages == [
        {"Response": "Success", "ActionID": "a1"},
        {"Event": "X", "Uri": "sip:a:5061"},
    ]
    assert rest == b"Event: Y\r\n"


def test_a_repeated_field_is_a_list():
    assert voip_ami.parse(b"Output: a\r\nOutput: b\r\nOutput: c") == {"Output": ["a", "b", "c"]}


def test_error_answer_raises_its_reason():
    with pytest.raises(voip_ami.Refused, match="Authentication failed"):
        voip_ami.checked({"Response": "Error", "Message": "Authentication failed"})


def test_credentials_of_the_first_user():
    text = "[general]\nenabled = yes\n[voip]\nsecret = s=3;x\ndeny = 0.0.0.0/0.0.0.0\n"
    assert voip_ami.credentials(text) == ("voip", "s=3;x")
    with pytest.raises(CommandExecutionError):
        voip_ami.credentials("[general]\nsecret = no\n")


@pytest.mark.parametrize(
    ("lengths", "patterns"),
    [
        ({}, []),
        ({"1": [4]}, ["_1XXX"]),
        ({"1": [4], "2": [3, 4]}, ["_1XXX", "_2XX", "_2XXX"]),
    ],
)
def test_patterns_do_not_grow_with_the_subscribers(lengths, patterns):
    assert voip_asterisk.patterns(lengths) == patterns


@pytest.mark.parametrize("first", ["_X.", "1,1,System(x)", "１", ""])
def test_only_digits_reach_the_dialplan(first):
    with pytest.raises(ValueError, match="not a digit"):
        voip_asterisk.patterns({"1": [4], first: [4]})


def test_codecs_keep_policy_order():
    assert voip_asterisk.codecs(["G722", "PCMA"]) == ["g722", "alaw"]
    with pytest.raises(ValueError, match="AMR"):
        voip_asterisk.codecs(["PCMA", "AMR"])


def test_policy_must_allow_the_suite_that_asterisk_has():
    voip = VOIP | {"routing": VOIP["routing"] | {"srtp_suites": ["AEAD_AES_256_GCM"]}}
    with pytest.raises(ValueError, match="AES_CM_128_HMAC_SHA1_80"):
        voip_asterisk.plan(voip)


def test_counters_of_both_directions():
    text = (
        "ssrc=1;themssrc=2;lp=3;rxjitter=0.001500;rxcount=200;"
        "txjitter=0.000250;txcount=198;rlp=1;rtt=0.000100;rxmes=85;txmes=86"
    )
    assert voip_asterisk.counters(text, "rx") == {"packets": 200, "lost": 3, "jitter_ms": 1.5}
    assert voip_asterisk.counters(text, "tx") == {"packets": 198, "lost": 1, "jitter_ms": 0.25}
    assert voip_asterisk.counters(None, "rx") == {"packets": None, "lost": None, "jitter_ms": None}


@pytest.mark.parametrize(("text", "value"), [("00:01:05", 65), ("10:00:00", 36000), ("", None)])
def test_seconds(text, value):
    assert voip_asterisk.seconds(text) == value


def test_trial_writes_nowhere_but_its_room():
    text = voip_asterisk.trial_config(
        "; head\n[directories]\nastetcdir => /etc/asterisk/voip\n[options]\nsystemname = pbx-1\n",
        "/stage",
        "/stage/.trial",
    )
    assert "/etc/asterisk" not in text
    assert "astetcdir => /stage\n" in text
    assert text.endswith("[options]\nsystemname = pbx-1\n")
    assert text.count("/stage/.trial") == 6


# Lines that Asterisk 22.10.1 wrote.
GOOD = """\
[Nov 25 01:47:32] NOTICE[2285]: loader.c:2568 load_modules: 69 modules will be loaded.
[Nov 25 01:47:32] WARNING[2285]: indications.c:1105 load_indications: Missing default country
[Nov 25 01:56:02] ERROR[601]: res_pjsip.c:1763 endpt_send_request: Error 120101 'Network is unreachable'
Asterisk Ready.
"""  # noqa: E501
BAD = [
    "[Nov 25 01:46:40] ERROR[1886]: loader.c:2687 load_modules: chan_pjsip declined to load.",
    "[Nov 25 01:46:40] WARNING[1886]: pbx_config.c:1798 pbx_load_config: The use of 'n' is wrong",
    "\x1b[1;31m[Nov 25 01:46:40] ERROR[1][C-1]: config_options.c:1 x: Could not find option\x1b[0m",
]


def test_a_good_trial_has_nothing_to_complain_about():
    assert voip_asterisk.complaints(GOOD) == []


@pytest.mark.parametrize("line", BAD)
def test_complaints(line):
    (found,) = voip_asterisk.complaints(GOOD + line + "\n")
    assert "\x1b" not in found
    assert not found.startswith("[Nov")


@pytest.fixture(scope="module")
def rendered():
    """Every template of pbx-1 with the real pillar: {file: text}."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    values = {
        "directory": "/etc/asterisk/voip",
        "own": VOIP["self"],
        "site": VOIP["site"],
        "ports": VOIP["ports"]["asterisk"],
        "settings": VOIP["asterisk"],
        "routing": VOIP["routing"],
        "codecs": ["alaw", "opus"],
        "managers": ["192.168.64.1"],
        "plan": voip_asterisk.plan(VOIP),
        "accepted": {
            name: [{"username": user, "password": f"{user}-word"} for user in (name, f"{name}.b")]
            for name in ("ami", "ari")
        },
    }
    return {
        path.stem: environment.from_string(path.read_text()).render(**values)
        for path in FILES.glob("*.j2")
    }


def test_secrets_are_in_two_files_only(rendered):
    assert {name for name, text in rendered.items() if "-word" in text} == {
        "ari.conf",
        "manager.conf",
    }


def test_dialplan_has_a_pattern_for_all_and_the_echo(rendered):
    lines = rendered["extensions.conf"].splitlines()
    extensions = [line for line in lines if line.startswith("exten")]
    assert extensions == [
        "exten => *43,1,Gosub(counted,s,1)",
        "exten => *44,1,Gosub(counted,s,1)",
        "exten => *97,1,Gosub(counted,s,1)",
        "exten => _1XXX,1,Gosub(counted,s,1)",
        "exten => 1002,1,Gosub(counted,s,1)",
        "exten => 1003,1,Gosub(counted,s,1)",
        "exten => _+X.,1,Hangup(3)",
        'exten => s,1,GotoIf($["${GROUP(calls)}" != ""]?end)',
        "exten => 1003,1,Answer()",
        "exten => _[0-9*]X.,1,Hangup(3)",
        "exten => _X.,1,GotoIf($[${LEN(${VOIP_CALL})} > 0]?known)",
        "exten => s,1,Set(KEYS=${HANGUPCAUSE_KEYS()})",
        "exten => s,1,Set(PJSIP_HEADER(add,X-Voip-Call)=${VOIP_CALL})",
    ]
    first = lines.index(extensions[5])
    assert lines[first + 1 : first + 8] == [
        " same => n,Gosub(ring,${EXTEN},1(20))",
        ' same => n,GotoIf($["${OUTCOME}" = "busy"]?1001,1)',
        ' same => n,GotoIf($["${OUTCOME}" = "unreachable"]?+4930123456,1)',
        ' same => n,GotoIf($["${OUTCOME}" = ""]?end)',
        ' same => n,VoiceMail(77@default,${IF($["${OUTCOME}" = "busy"]?b:u)})',
        " same => n,Hangup()",
        " same => n(end),Hangup(${GOSUB_RETVAL})",
    ]


def test_a_box_has_no_password_and_is_opened_to_its_owner(rendered):
    lines = rendered["voicemail.conf"].splitlines()
    assert lines[lines.index("[default]") + 1 :] == ["77 => ,77"]
    lines = rendered["extensions.conf"].splitlines()
    own = lines[lines.index("[own-box]") + 1 :]
    assert own[:2] == ["exten => 1003,1,Answer()", " same => n,VoiceMailMain(77@default,sa(0))"]


def test_only_numbers_are_forwarded_to():
    with pytest.raises(ValueError, match="not a number"):
        voip_asterisk.forwards({"1001": {"busy": "1,1,System(x)"}}, 60)
    with pytest.raises(ValueError, match="not a number"):
        voip_asterisk.forwards({"1001": {"voicemail": "1@other"}}, 60)


def test_trunk_is_encrypted_and_known_by_address(rendered):
    text = rendered["pjsip_trunks.conf"]
    for line in (
        "identify_by = ip",
        "media_encryption = sdes",
        "media_encryption_optimistic = no",
        "direct_media = no",
        "match = 192.168.64.10/32",
        "allow = alaw,ulaw,g722",
        "contact = sip:192.168.64.10:5071\\;transport=tls",
    ):
        assert line in text.splitlines()


def test_transport_wants_a_client_certificate(rendered):
    lines = rendered["pjsip.conf"].splitlines()
    assert [line for line in lines if line.startswith("type = transport")] == ["type = transport"]
    for line in ("protocol = tls", "verify_client = yes", "require_client_cert = yes",
                 "verify_server = yes", "bind = 192.168.64.30:5061"):  # fmt: skip
        assert line in lines


def test_only_tls_listens_beyond_loopback(rendered):
    manager = rendered["manager.conf"].splitlines()
    assert "bindaddr = 127.0.0.1" in manager
    assert "tlsbindaddr = 192.168.64.30:5038" in manager
    http = rendered["http.conf"].splitlines()
    assert "enabled = no" in http
    assert "tlsbindaddr = 192.168.64.30:8088" in http


def test_no_guest_can_come_in(rendered):
    text = rendered["modules.conf"]
    assert "autoload = no" in text
    assert "identifier_anonymous" not in text
    assert "load = res_pjsip_authenticator_digest.so" in text


def test_all_devices_of_a_callee_ring(rendered):
    """Where X-Voip-At tells of some, and without it at every proxy at once."""
    text = rendered["extensions.conf"]
    at = {
        name: rf"PJSIP/sip-1/sip:${{EXTEN}}@192.168.64.10:{port}\;transport=tls"
        for name, port in (("kamailio", 5071), ("opensips", 5061))
    }
    lines = text[text.index("[ring]") : text.index("[outcome]")].splitlines()
    for number, (name, way) in enumerate(at.items(), 1):
        pattern = rf'"^=${{EXTEN}},(.*,)?sip-1/{name}," =${{VOIP_AT}}'
        place = lines.index(f" same => n,GotoIf(${{REGEX({pattern})}}?:after{number})")
        assert lines[place + 1] == f" same => n,Set(WAYS=${{WAYS}}&{way})"
    dialled = [line for line in lines if "Dial(" in line]
    assert dialled == [
        " same => n,Dial(${WAYS:1},${ARG1},b(to-proxy^s^1))",
        f" same => n,Dial({at['kamailio']}&{at['opensips']},${{ARG1}},b(to-proxy^s^1))",
    ]
