"""sipp's scenarios: who registers, who calls and who is called. Pure texts.

Fields of a line of users: 0 the number, 1 its credentials, 2 the number that it calls. The key
`way` is the transport as the proxy sees it.
"""

from __future__ import annotations

# Of nobody and for nothing: no media flows, the keys only make the SDP one that is negotiated.
KEY = "AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
SDP = f"""\
v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/SAVP 8
a=rtpmap:8 PCMA/8000
a=crypto:1 {KEY}
"""
CONTACT = "Contact: <sip:[{who}]@[local_ip]:[local_port];transport=[way]>"
CREDENTIALS = "\n[field1]"


def user(number: str, password: str, calls: str = "") -> str:
    """A line of users. sipp fills no field into its keyword for credentials: the keyword is one."""
    return f"{number};[authentication username={number} password={password}];{calls}"


def register(domain: str) -> str:
    """One registration; the 200 ends it."""
    return _scenario("register", _registration(domain))


def register_anew(domain: str) -> str:
    """One that says what no other one has said: a repetition is not written."""
    return _scenario("register-anew", _registration(domain, more=";x=[pid]-[call_number]"))


def callee(domain: str) -> str:
    """A registration that stays: its connection is where calls come by (`answer`)."""
    told = '<action><log message="registered [field0]"/></action>'
    return _scenario("callee", _registration(domain, told) + '<pause milliseconds="3600000"/>')


def answer() -> str:
    """A call that came over a callee's connection: rung, answered, ended by the caller."""
    echoed = "[last_Via:]\n[last_Record-Route:]\n[last_From:]\n{to}\n[last_Call-ID:]\n[last_CSeq:]"
    tagged = echoed.format(to="[last_To:];tag=[pid]a[call_number]")
    contact = CONTACT.format(who="service")
    return _scenario(
        "answer",
        _recv("INVITE")
        + _send(f"SIP/2.0 180 Ringing\n{tagged}\n{contact}")
        + _send(f"SIP/2.0 200 OK\n{tagged}\n{contact}", SDP)
        + _recv("ACK")
        + _recv("BYE")
        + _send(f"SIP/2.0 200 OK\n{echoed.format(to='[last_To:]')}"),
    )


def call(domain: str, *, challenged: bool) -> str:
    """A call that lasts as long as sipp's -d says. challenged: whether a password is asked for.

    Its first timer is the post-dial delay: from the first INVITE, challenge and all, to the 180.
    """
    party = (
        f"From: <sip:[field0]@{domain}>;tag=[pid]c[call_number]\n"
        f"To: <sip:[field2]@{domain}>{{tag}}\nCall-ID: [call_id]\nMax-Forwards: 70\n"
    )
    contact = CONTACT.format(who="field0")
    via = "Via: SIP/2.0/[way] [local_ip]:[local_port];branch=[branch];rport"
    there = f"sip:[field2]@{domain}"

    def invite(number: int, more: str = "") -> str:
        head = f"INVITE {there} SIP/2.0\n{via}\n{party.format(tag='')}CSeq: {number} INVITE\n"
        return f"{head}{contact}{more}"

    def later(method: str, number: int) -> str:
        head = f"{method} [next_url] SIP/2.0\n{via}\n[routes]\n"
        return f"{head}{party.format(tag='[peer_tag_param]')}CSeq: {number} {method}\n{contact}"

    steps = _send(invite(1), SDP, 'start_rtd="1"')
    if challenged:
        refused = party.format(tag="[peer_tag_param]")
        steps += _recv(100, 'optional="true"') + _recv(407, 'auth="true"')
        steps += _send(f"ACK {there} SIP/2.0\n[last_Via:]\n{refused}CSeq: 1 ACK")
        steps += _send(invite(2, CREDENTIALS), SDP)
    number = 2 if challenged else 1
    steps += _recv(100, 'optional="true"') + _recv(180, 'optional="true" rtd="1"')
    steps += _recv(183, 'optional="true"') + _recv(200, 'rrs="true"')
    steps += _send(later("ACK", number)) + "<pause/>"
    return _scenario("call", steps + _send(later("BYE", number + 1)) + _recv(200))


def _registration(domain: str, then: str = "", more: str = "") -> str:
    """more: parameters of its Contact."""
    contact = CONTACT.format(who="field0") + more

    def request(number: int, credentials: str = "") -> str:
        return (
            f"REGISTER sip:{domain} SIP/2.0\n"
            "Via: SIP/2.0/[way] [local_ip]:[local_port];branch=[branch];rport\n"
            f"From: <sip:[field0]@{domain}>;tag=[pid]r[call_number]\n"
            f"To: <sip:[field0]@{domain}>\nCall-ID: [call_id]\nCSeq: {number} REGISTER\n"
            f"{contact}\nMax-Forwards: 70\nExpires: 600{credentials}"
        )

    granted = f'<recv response="200">{then}</recv>' if then else _recv(200)
    return _send(request(1)) + _recv(401, 'auth="true"') + _send(request(2, CREDENTIALS)) + granted


def _send(head: str, body: str = "", attributes: str = "") -> str:
    if body:
        head += "\nContent-Type: application/sdp"
    # A line that ends in [last_...] and finds none is left out by sipp.
    return f"<send {attributes}><![CDATA[\n{head}\nContent-Length: [len]\n\n{body}]]></send>\n"


def _recv(what: str | int, attributes: str = "") -> str:
    kind = "request" if isinstance(what, str) else "response"
    return f'<recv {kind}="{what}" {attributes}/>\n'


def _scenario(name: str, steps: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{name}">\n{steps}</scenario>\n'
