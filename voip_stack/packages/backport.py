"""Debian's own newer source package, built for an older release.

The source is found through apt's signed Sources index, in an apt directory of its own: the host's
/etc/apt is read (for its mirror) and never changed.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from voip_stack.packages.build import Target, build_packages
from voip_stack.packages.chroot import Chroot, run_logged
from voip_stack.packages.mirror import KEYRING, Mirror, fetch_problem
from voip_stack.packages.recipe import Recipe
from voip_stack.problem import Problem


@dataclass(frozen=True)
class SourceFile:
    """One file of a source package. checksum: as apt writes it, "SHA256:…"."""

    uri: str
    name: str
    checksum: str


def build(component: str, recipe: Recipe, target: Target, output: Path) -> None:
    """Fetch, unpack, change and build. The .deb files go into `output`."""

    def unpack(directory: Path, system: Chroot, mirror: Mirror) -> Path:
        files = fetch(recipe, mirror, directory, target.log(component))
        dsc = next(path for path in files if path.suffix == ".dsc")
        drop_absent_signatures(dsc)
        # Checksums came from the signed index; the .dsc's own signer is not in Debian's keyring.
        system.run(
            f"cd /build && dpkg-source --no-check -x {shlex.quote(dsc.name)} source",
            f"Unpacking the source of {component}",
        )
        return directory / "source"

    build_packages(component, recipe, target, unpack, output)


def fetch(recipe: Recipe, mirror: Mirror, directory: Path, log: Path) -> list[Path]:
    """Download a source package, from the first of the recipe's suites that has all of it."""
    apt = _apt(directory.parent / "apt", recipe, mirror)
    # Without Error-Mode a mirror that does not answer is a warning, and the package "not found".
    update = [*apt, "update", "-q", "-o", "APT::Update::Error-Mode=any"]
    run_logged(update, log, "Reading the index of Debian sources")
    problem: Problem | None = None
    for suite in recipe.suites:
        listing = subprocess.run(
            [*apt, "source", "--print-uris", "-qq", "--only-source", "-t", suite, recipe.source],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if listing.returncode:
            problem = Problem(f"{suite} has no source package {recipe.source}")
            continue
        try:
            return _download(parse_uris(listing.stdout), directory)
        except Problem as error:
            problem = error
    raise problem or Problem(f"The recipe of {recipe.source} names no suite")


def parse_uris(output: str) -> list[SourceFile]:
    """What `apt-get source --print-uris` prints: 'URI' name size checksum."""
    rows = re.findall(r"^'(\S+)' (\S+) \d+ (\S+)$", output, re.MULTILINE)
    return [SourceFile(*row) for row in rows]


def drop_absent_signatures(dsc: Path) -> None:
    """Take upstream signatures that could not be had out of a .dsc, so that it unpacks."""
    present = {path.name for path in dsc.parent.iterdir()}
    lines = dsc.read_text().splitlines(keepends=True)
    kept = [
        line
        for line in lines
        if not (line.startswith(" ") and line.rstrip().endswith(".asc"))
        or line.split()[-1] in present
    ]
    dsc.write_text("".join(kept))


def _download(files: list[SourceFile], directory: Path) -> list[Path]:
    paths = []
    for file in files:
        path = directory / file.name
        # apt-helper checks the checksum, and knows proxies and https as the host's apt does.
        done = subprocess.run(
            ["/usr/lib/apt/apt-helper", "download-file", file.uri, str(path), file.checksum],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            paths.append(path)
        elif not file.name.endswith(".asc"):
            raise fetch_problem(f"Downloading {file.name}", done.stdout + done.stderr)
    return paths


def _apt(directory: Path, recipe: Recipe, mirror: Mirror) -> list[str]:
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    sources = "".join(
        f"deb-src [signed-by={KEYRING}] {mirror.archive(suite)} {suite} main\n"
        for suite in recipe.suites
    )
    (directory / "sources.list").write_text(sources)
    options = {
        "Dir::Etc::SourceList": directory / "sources.list",
        "Dir::Etc::SourceParts": directory / "parts",
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache": directory / "cache",
        "APT::Update::Post-Invoke-Success": "",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": 2,
    }
    return [
        "apt-get",
        *(part for key, value in options.items() for part in ("-o", f"{key}={value}")),
    ]
