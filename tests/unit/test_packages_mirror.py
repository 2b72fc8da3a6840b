"""The host's mirror from its apt sources; apt's words about a mirror that does not answer."""

import pytest

from voip_stack.packages import mirror
from voip_stack.packages.backport import drop_absent_signatures, parse_uris

DEB822 = """\
Types: deb
# an old snapshot
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.test/debian-security/
Suites: bookworm-security
Components: main

Types: deb
URIs: http://disabled.test/debian
Suites: trixie
Enabled: no
"""
ONE_LINE = """\
# deb http://comment.test/debian bookworm main
deb-src http://mirror.test/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] https://one.test/debian trixie main contrib
deb https://other.test/apt stable-thing main
"""


@pytest.mark.parametrize(
    ("text", "debian", "security"),
    [
        (DEB822, "http://mirror.test/debian", "http://mirror.test/debian-security"),
        (ONE_LINE, "https://one.test/debian", "https://one.test/debian-security"),
    ],
)
def test_choose(text, debian, security):
    found = mirror.choose(mirror.entries(text))
    assert (found.debian, found.security) == (debian, security)
    assert found.archive("trixie-security") == security
    assert f"deb {debian} trixie-updates main\n" in found.sources("trixie")


def test_a_host_without_debian():
    assert mirror.choose(mirror.entries("deb https://other.test/apt thing main")) is None


def test_a_dead_mirror_is_named_with_what_to_do():
    log = (
        "Err:1 http://mirror.test/debian bookworm InRelease\n"
        "  Could not connect to mirror.test:80 (198.18.0.1), connection timed out\n"
        "E: Failed to fetch http://mirror.test/debian/dists/bookworm/InRelease  Could not connect\n"
    )
    text = str(mirror.fetch_problem("Making a bookworm build system", log))
    assert "http://mirror.test/debian" in text
    assert "Could not connect to mirror.test:80" in text
    assert "apt-get update" in text


def test_print_uris_and_a_missing_signature(tmp_path):
    rows = parse_uris(
        "Need to get 3 B\n'http://m.test/t_1.dsc' t_1.dsc 10 SHA256:aa\n"
        "'http://m.test/t_1.orig.tar.gz.asc' t_1.orig.tar.gz.asc 10 SHA256:bb\n"
    )
    assert [(row.name, row.checksum) for row in rows] == [
        ("t_1.dsc", "SHA256:aa"),
        ("t_1.orig.tar.gz.asc", "SHA256:bb"),
    ]
    dsc = tmp_path / "t_1.dsc"
    dsc.write_text("Files:\n aa 1 t_1.orig.tar.gz\n bb 1 t_1.orig.tar.gz.asc\n")
    drop_absent_signatures(dsc)
    assert dsc.read_text() == "Files:\n aa 1 t_1.orig.tar.gz\n"
