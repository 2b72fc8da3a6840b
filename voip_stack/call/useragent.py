"""What baresip is told and what it says: configuration, account, and the parsers of its output.

Tried against baresip 1.1.0 (Debian 13). Nothing here does I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from voip_stack.call.plan import Plan

RECORDING = "heard.wav"
ACCOUNT_NAME = re.compile(r"^[A-Za-z0-9*#+_.-]{1,64}$")
PASSWORD = re.compile(r'^[^\s;"<>,]{1,128}$')
# baresip's name for a codec: its RTP clock is not its sample rate for G.722 (RFC 3551, 4.5.2).
CODECS = {"PCMA": "PCMA/8000/1", "PCMU": "PCMU/8000/1", "G722": "G722/16000/1"}
# A recording: 16-bit samples of one channel, behind a header that is whole when the call has ended.
SAMPLE_BYTES = 2
# A bridge source without a player at its other end gives no frames, so nothing goes on the wire:
# the call starts and ends quiet, and every counter on the way can be compared with the next.
QUIET = "aubridge,quiet"
# How a user agent agrees on keys: SDES (RFC 4568), or DTLS-SRTP (RFC 5764) without or with ICE.
# Called, baresip 1.1 does not find the candidates of an offer: it uses ICE when it calls.
KEYING = {
    "sdes": "mediaenc=srtp-mand",
    "dtls": "mediaenc=dtls_srtp",
    "dtls+ice": "mediaenc=dtls_srtp;medianat=ice",
}

CONFIG = """\
# Written by `voip call` for one call.
poll_method             epoll
sip_listen              {listen}:0
sip_cafile              @DIR@/ca.crt
sip_verify_server       yes
sip_trans_def           tls
net_interface           {address}
dns_server              @DNS@
call_local_timeout      60
call_max_calls          2
audio_player            aufile,@DIR@/{recording}
audio_source            {quiet}
audio_alert             aufile,/dev/null
ausrc_srate             48000
ausrc_channels          1
audio_txmode            poll
audio_buffer            100-500
rtp_ports               {rtp_ports}
rtcp_mux                no
jitter_buffer_type      fixed
jitter_buffer_delay     5-50
rtp_stats               yes
module_path             {module_path}
module                  g711.so
module                  g722.so
module                  ausine.so
module                  aubridge.so
module                  aufile.so
module                  srtp.so
module                  dtls_srtp.so
module                  ice.so
module_app              menu.so
module_app              ctrl_tcp.so
ctrl_tcp_listen         @CONTROL@
ring_aufile             none
callwaiting_aufile      none
ringback_disabled       yes
notfound_aufile         none
busy_aufile             none
error_aufile            none
sip_autoanswer_beep     no
redial_attempts         0
"""


@dataclass(frozen=True)
class Settings:
    """One user agent: who it is, where it registers, what it plays.

    register_s: how long a registration lasts; 0: it does not register, and only calls.

    password_secret: the SIP password; it goes to the agent's standard input and into baresip's
    memory, never into a file, an argument or a log.
    """

    number: str
    domain: str
    password_secret: str
    proxy_name: str
    proxy_port: int
    address: str
    tone_hz: int
    codec: str
    rtp_ports: tuple[int, int]
    module_path: str = "/usr/lib/baresip/modules"
    keying: str = "sdes"
    register_s: int = 600

    @classmethod
    def of(
        cls,
        plan: Plan,
        number: str,
        password: str,
        tone_hz: int,
        rtp_ports: tuple[int, int],
        **others: Any,
    ) -> Settings:
        """The user agent of a number in a planned call. others: what differs from that."""
        planned: dict[str, Any] = {
            "domain": plan.domain,
            "proxy_name": plan.proxy_name,
            "proxy_port": plan.port_for(number),
            # A browser knows no other keys, and offers ICE always.
            "keying": "dtls+ice" if number in plan.browsers else "sdes",
            "address": plan.address_of(number),
            "codec": plan.codec,
        }
        return cls(
            number=number,
            password_secret=password,
            tone_hz=tone_hz,
            rtp_ports=rtp_ports,
            **(planned | others),
        )

    def __repr__(self) -> str:
        return f"Settings({self.number}@{self.domain})"

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address

    def config(self) -> str:
        return CONFIG.format(
            address=self.address,
            listen=f"[{self.address}]" if self.is_ipv6 else self.address,
            quiet=QUIET,
            rtp_ports=f"{self.rtp_ports[0]}-{self.rtp_ports[1]}",
            module_path=self.module_path,
            recording=RECORDING,
        )

    def tone(self) -> str:
        """The audio source that plays this user agent's tone."""
        return f"ausine,{self.tone_hz}"

    @property
    def sample_rate(self) -> int:
        """Hz of what it hears and records."""
        return int(CODECS[self.codec].split("/")[1])

    def account(self) -> str:
        """The account as `uanew` takes it: TLS to the proxy by name, SRTP or no call."""
        if not ACCOUNT_NAME.match(self.number) or not PASSWORD.match(self.password_secret):
            raise ValueError("a number and a password that fit a SIP account expected")
        return (
            f"<sip:{self.number}@{self.domain};transport=tls>"
            f";auth_pass={self.password_secret}"
            f';outbound="sip:{self.proxy_name}:{self.proxy_port};transport=tls"'
            f";{KEYING[self.keying]};audio_codecs={CODECS[self.codec]}"
            f";answermode=manual;regint={self.register_s};ptime=20;mwi=no;call_transfer=no"
        )


def parse_secure_event(text: str) -> str | None:
    """The suite in a CALL_MENC event ("0,audio,AES_CM_128_HMAC_SHA1_80"), None in another."""
    parts = text.split(",")
    return parts[2] if len(parts) == 3 and parts[1] == "audio" else None


@dataclass(frozen=True)
class StreamState:
    """What `audio_debug` tells: codecs, packets sent and received, whether SRTP is on, own port.

    address: where its media is, when that need not be where its signalling is (ICE).
    """

    codec_sent: str | None
    codec_received: str | None
    sent: int | None
    received: int | None
    is_secure: bool
    port: int | None
    address: str | None = None


CODEC_LINE = re.compile(r"(tx|rx):\s+(?:.*?)\b(PCMA|PCMU|G722|opus)\b", re.IGNORECASE)


def parse_audio_debug(text: str) -> StreamState:
    codecs: dict[str, str] = {}
    for direction, codec in CODEC_LINE.findall(text):
        codecs.setdefault(direction.lower(), codec)
    sent = re.search(r"TX: packets=(\d+)", text)
    received = [int(count) for count in re.findall(r"\brcvd=(\d+)", text)]
    local = re.search(r"local: (?:[0-9.]+|\[[0-9a-f:]+\]):(\d+), remote:", text)
    return StreamState(
        codec_sent=codecs.get("tx"),
        codec_received=codecs.get("rx"),
        sent=int(sent.group(1)) if sent else None,
        received=sum(received) if received else None,
        is_secure="(secure=yes)" in text,
        port=int(local.group(1)) if local else None,
    )
