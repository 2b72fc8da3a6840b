"""Take what could be a secret out of log lines before they leave their host.

The daemons are configured to log none; what is kept for an incident is scrubbed all the same.
"""

import re

_HIDDEN = "(hidden)"
_PATTERNS = (
    # password=..., "secret": "...", token: ...
    re.compile(
        r"""(?i)((?:pass(?:word|wd)?|secret(?:_id)?|token|credential|api_?key|private_?key|ha1|nonce)
        ["']?\s*[:=]\s*["']?)[^\s"',;]+""",
        re.VERBOSE,
    ),
    re.compile(r"(?i)(authorization:\s*\w+\s+)\S.*"),
    re.compile(r"(inline:)[A-Za-z0-9+/=]+"),  # SDES keys, RFC 4568
    re.compile(r"(://[^\s:/@]+:)[^\s@]+(?=@)"),  # a URL's password
    re.compile(r"()\b(?:hv[sbr]|s|b)\.[A-Za-z0-9_-]{20,}"),  # Vault tokens
    re.compile(r"()SCRAM-SHA-256\$\S+"),
)
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S
)


def scrub(text):
    """Return text without passwords, tokens and keys."""
    text = _KEY.sub(_HIDDEN, text)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{_HIDDEN}", text)
    return text
