"""The web phone's library: CommonJS modules of several releases in one script."""

import tarfile
from io import BytesIO

import pytest

from voip_stack.pillar.components import LibraryPart
from voip_stack.problem import Problem
from voip_stack.webphone import library
from voip_stack.webphone.library import Release

PHONE = Release(
    "phone",
    "lib/main.js",
    {
        "LICENSE.md": "MIT, phone. */",
        "package.json": '{"version": "1.2"}',
        "lib/main.js": "const part = require('./part'); const bells = require(\"bells\");",
        "lib/part.js": "module.exports = require('../package.json').version;",
        "lib/unused.js": "unused",
    },
)
BELLS = Release("bells", "index.js", {"license": "MIT, bells.", "index.js": "exports.ring = 1;"})


def test_what_the_main_file_needs_is_in_it_and_nothing_else():
    script = library.bundle([PHONE, BELLS])
    for text in (*PHONE.files.values(), *BELLS.files.values()):
        expected = text not in ("unused", PHONE.files["LICENSE.md"])
        assert (text in script) is expected, text
    assert '{"./part": "phone/lib/part.js", "bells": "bells/index.js"}' in script
    assert 'window.JsSIP = load("phone/lib/main.js");' in script


def test_licences_are_on_top_and_end_no_comment():
    head = library.bundle([PHONE, BELLS]).partition("\n*/\n")[0]
    assert "MIT, phone. * /" in head
    assert "MIT, bells." in head


@pytest.mark.parametrize(
    ("releases", "reason"),
    [
        ([PHONE], "needs bells"),
        ([PHONE, Release("bells", "index.js", {"index.js": ""})], "without its licence"),
        ([PHONE, Release("bells", "index.js", BELLS.files | {"index.js": "require('./no')"})],
         "needs ./no"),
    ],
    ids=["no such release", "no licence", "no such file"],
)  # fmt: skip
def test_what_is_missing_is_named(releases, reason):
    with pytest.raises(Problem, match=reason):
        library.bundle(releases)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A release in the directory of local sources, and the pillar's word for it."""
    monkeypatch.setenv("VOIP_LOCAL_SOURCES", str(tmp_path))
    with tarfile.open(tmp_path / "bells-1.tgz", "w:gz") as files:
        for name, text in (BELLS.files | {"test.png": "png"}).items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            files.addfile(member, BytesIO(text.encode()))

    def part(sha256):
        return LibraryPart(module="bells", main="index.js", name="bells-1.tgz", sha256=sha256)

    return part


def test_a_release_is_taken_by_its_checksum(archive, tmp_path):
    import hashlib

    found = hashlib.sha256((tmp_path / "bells-1.tgz").read_bytes()).hexdigest()
    assert library._release(archive(found)) == BELLS
    with pytest.raises(Problem, match="pillar expects"):
        library._release(archive("0" * 64))
