"""Make the web phone's SIP library: releases by their checksums, their modules put into one script.

JsSIP is published as CommonJS modules, without a script that a browser could load. What its main
file needs, directly or not, is put into one script here, unchanged, each release's licence on top.
No Node.js takes part.
"""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voip_stack.cache import Cache, digest
from voip_stack.packages import tarball
from voip_stack.pillar.components import LibraryPart
from voip_stack.problem import Problem

FILE = "jssip.js"
GLOBAL = "JsSIP"
REQUIRE = re.compile(r"""\brequire\(\s*(['"])([^'"]+)\1\s*\)""")
LICENCE = re.compile(r"^licen[cs]e(\.(md|txt))?$", re.IGNORECASE)
LOADER = """\
  const loaded = {};
  function load(id) {
    if (!(id in loaded)) {
      const module = (loaded[id] = { exports: {} });
      const [factory, needs] = modules[id];
      factory.call(module.exports, module, module.exports, (name) => load(needs[name]));
    }
    return loaded[id].exports;
  }
"""


@dataclass(frozen=True)
class Release:
    """An unpacked release. files: {path below its root: text}."""

    module: str
    main: str
    files: Mapping[str, str]


def ensure(parts: Sequence[LibraryPart], cache: Cache) -> Path:
    """The script, made unless the cache has it. Problem where a release cannot be had."""
    key = digest(Path(__file__), *(part.model_dump_json() for part in parts))

    def make(directory: Path) -> None:
        (directory / FILE).write_text(bundle([_release(part) for part in parts]))

    return cache.entry("webphone", key, make) / FILE


def bundle(releases: Sequence[Release]) -> str:
    """One script that sets `window.JsSIP` to what the first release's main file exports.

    Raises Problem where a module needs one that no release has.
    """
    by_name = {release.module: release for release in releases}
    first = releases[0]
    start = f"{first.module}/{first.main}"
    modules: dict[str, str] = {}
    wanted = [start]
    while wanted:
        name = wanted.pop()
        if name in modules:
            continue
        module, _, path = name.partition("/")
        text = by_name[module].files[path]
        needs = {} if path.endswith(".json") else _needs(by_name, module, path, text)
        modules[name] = _entry(path, text, needs)
        wanted += needs.values()
    licences = "\n\n".join(f"{item.module}:\n{_licence(item)}" for item in releases)
    body = ",\n".join(f"{json.dumps(name)}: {text}" for name, text in sorted(modules.items()))
    return (
        f"/*\n{licences.replace('*/', '* /')}\n*/\n"
        f"(() => {{\n  const modules = {{\n{body}\n}};\n{LOADER}"
        f"  window.{GLOBAL} = load({json.dumps(start)});\n}})();\n"
    )


def _entry(path: str, text: str, needs: Mapping[str, str]) -> str:
    body = f"module.exports = {text.strip()};" if path.endswith(".json") else text
    head = "(module, exports, require)"
    return f"[function {head} {{\n{body}\n}}, {json.dumps(needs, sort_keys=True)}]"


def _needs(by_name: Mapping[str, Release], module: str, path: str, text: str) -> dict[str, str]:
    """{what the module calls it: "module/path"} of everything that a module requires."""
    found = {}
    for _, name in REQUIRE.findall(text):
        if name.startswith("."):
            near = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
            tries = [f"{module}/{near}{end}" for end in ("", ".js", "/index.js")]
        else:
            tries = [f"{name}/{by_name[name].main}"] if name in by_name else []
        known = [item for item in tries if _has(by_name, item)]
        if not known:
            raise Problem(
                f"{module}/{path} needs {name}, which is in no release",
                "pillar: webphone.library",
                "name its release there",
            )
        found[name] = known[0]
    return found


def _has(by_name: Mapping[str, Release], name: str) -> bool:
    module, _, path = name.partition("/")
    return path in by_name[module].files


def _licence(release: Release) -> str:
    texts = [text for path, text in release.files.items() if LICENCE.match(path)]
    if not texts:
        raise Problem(f"{release.module} comes without its licence", "pillar: webphone.library")
    return texts[0].strip()


def _release(part: LibraryPart) -> Release:
    with tempfile.TemporaryDirectory(prefix="voip-webphone-") as room:
        archive = Path(room) / part.name
        tarball.fetch(part, archive)
        return Release(part.module, part.main, _texts(archive))


def _texts(archive: Path) -> dict[str, str]:
    """Scripts, JSON and the licence of an archive, without its first folder. Nothing is written."""
    found = {}
    with tarfile.open(archive) as files:
        for member in files:
            path = member.name.partition("/")[2]
            if not member.isfile() or not (path.endswith((".js", ".json")) or LICENCE.match(path)):
                continue
            content = files.extractfile(member)
            if content is not None:
                found[path] = content.read().decode()
    return found
