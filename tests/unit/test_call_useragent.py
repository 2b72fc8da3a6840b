"""What baresip is told and what it says, from its real output (1.1.0, Debian 13)."""

import pytest

from voip_stack.call import useragent

AUDIO_DEBUG = """\

--- Audio stream ---
 tx:   encode: PCMA 8000Hz/1ch ptime=20ms S16LE
       aubuf: wish_sz=1920 cur_sz=0 filling=0 (cur 0.00ms, max 600.00ms, or 0, ur 0)
       source: ausine,600 S16LE
       time = 4.019 sec
 rx:   decode: PCMA 8000Hz/1ch S16LE
       player: aufile,/dev/shm/voip-call-oep3u6v1/a/heard.wav S16LE
       time = 3.959 sec
 audio tx pipeline:      ausine ---> PCMA
 audio rx pipeline:      aufile <--- PCMA
 audio dir=sendrecv pt_enc=8
 local: 0.0.0.0:20048, remote: 198.18.64.20:30240/198.18.64.20:30241
 mnat: (none) (connected=no)
 menc: srtp-mand (secure=yes)
RTP debug:
 Encode: seq=7631 ssrc=0x9a00d6d1
----- RTCP Session: -----
  cname=sip:1001@voip.test SSRC=0x9a00d6d1/2583746257 rx=8000Hz
  member 0x8b5451e2: lost=0 Jitter=0.0ms RTT=0.0ms
                 IP=198.18.64.20:30240 psent=0 rcvd=201
  TX: packets=203, octets=32160
"""


def settings(**changes):
    values = {
        "number": "1001",
        "domain": "voip.test",
        "password_secret": "s3cret-Pass_word",
        "proxy_name": "sip.voip.test",
        "proxy_port": 5071,
        "address": "198.18.64.100",
        "tone_hz": 600,
        "codec": "PCMA",
        "rtp_ports": (20000, 20198),
    }
    return useragent.Settings(**(values | changes))


def test_audio_debug():
    state = useragent.parse_audio_debug(AUDIO_DEBUG)
    assert state == useragent.StreamState("PCMA", "PCMA", 203, 201, True, 20048)


def test_audio_debug_of_a_call_that_is_not_there():
    state = useragent.parse_audio_debug("\n(no call)\n")
    assert state == useragent.StreamState(None, None, None, None, False, None)


def test_cleartext_media_is_not_secure():
    text = AUDIO_DEBUG.replace("menc: srtp-mand (secure=yes)", "menc: (none) (secure=no)")
    assert not useragent.parse_audio_debug(text).is_secure


@pytest.mark.parametrize(
    ("text", "suite"),
    [
        ("0,audio,AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_80"),
        ("0,video,AES_CM_128_HMAC_SHA1_80", None),
        ("1,audio", None),
        ("", None),
    ],
)
def test_secure_event(text, suite):
    assert useragent.parse_secure_event(text) == suite


@pytest.mark.parametrize("codec", ["PCMA", "PCMU", "G722"])
def test_the_account_demands_tls_and_srtp(codec):
    account = settings(codec=codec).account()
    assert account.startswith("<sip:1001@voip.test;transport=tls>;")
    assert ';outbound="sip:sip.voip.test:5071;transport=tls";' in account
    assert ";mediaenc=srtp-mand;" in account
    assert f";audio_codecs={codec}/" in account


def test_the_configuration_verifies_the_proxy_and_holds_no_password():
    config = settings().config()
    assert "sip_verify_server       yes" in config
    assert "sip_cafile              @DIR@/ca.crt" in config
    assert "s3cret" not in config
    assert "s3cret" not in repr(settings())


@pytest.mark.parametrize(
    "changes",
    [
        {"password_secret": ""},
        {"password_secret": "a;mediaenc=none"},
        {"password_secret": "a b"},
        {"password_secret": 'a"b'},
        {"number": "10 01"},
        {"number": "1001>;x=<"},
    ],
)
def test_nothing_slips_into_the_account(changes):
    with pytest.raises(ValueError, match="number and a password"):
        settings(**changes).account()
