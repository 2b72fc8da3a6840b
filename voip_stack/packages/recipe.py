"""How a source package is changed so that it builds on an older Debian: data, applied by rules.

A recipe is a YAML file in recipes/. Every substitution must match: when a newer source no longer
has the text, the recipe is out of date, and saying so beats building something else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

RECIPES = Path(__file__).parent / "recipes"
# The number that a Debian release puts into a backport's version.
RELEASES = {"bookworm": 12, "trixie": 13}


class RecipeError(Exception):
    """A recipe does not fit the source it is applied to."""


class Edit(BaseModel):
    """Replace every match of a regular expression (multi-line) in one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: str
    find: str
    replace: str
    count: int = Field(default=0, ge=0)  # 0: every match


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str = Field(pattern=r"^[a-z0-9][a-z0-9.+-]+$")
    suites: list[str] = Field(default=[], description="Debian suites to look in, best first")
    packaging: str | None = None  # directory in the source that replaces debian/
    version: str | None = None  # written into the changelog; default the source's own, marked
    # Raised when the recipe changes what the packages do: hosts that have them upgrade.
    revision: int = Field(default=1, ge=1)
    keep_packages: list[str] = []  # other binary packages are not built; empty keeps all
    build_depends: dict[str, str] = {}  # as written in control: what it becomes
    drop_build_depends: list[str] = []
    add_build_depends: list[str] = []
    edits: list[Edit] = []

    def content(self) -> dict[str, Any]:
        """What decides the packages. A first revision says nothing: what was built before recipes
        had one is built once."""
        return self.model_dump(exclude={"revision"} if self.revision == 1 else None)


def load(name: str, directory: Path = RECIPES) -> Recipe:
    """Read one recipe by the component's name. Raises FileNotFoundError when there is none."""
    return Recipe.model_validate(yaml.safe_load((directory / f"{name}.yaml").read_text()))


def backport_version(version: str, suite: str, revision: int = 1) -> str:
    """6.0.1-1 built for bookworm -> 6.0.1-1~voip12+1: lower than the original, so that an upgrade
    to the next Debian release takes over (Debian policy, section 5.6.12)."""
    return f"{version}~voip{RELEASES[suite]}+{revision}"


def apply(recipe: Recipe, tree: Path, suite: str) -> str:
    """Change the unpacked source in `tree` by the recipe. Returns the version it will have."""
    if recipe.packaging:
        _replace_packaging(tree, recipe.packaging.format(suite=suite))
    control = tree / "debian" / "control"
    text = keep_packages(control.read_text(), recipe.keep_packages)
    control.write_text(
        build_depends(
            text, recipe.drop_build_depends, recipe.build_depends, recipe.add_build_depends
        )
    )
    for edit in recipe.edits:
        path = tree / edit.file
        if not path.is_file():
            raise RecipeError(f"{edit.file} is not in the source of {recipe.source}")
        path.write_text(substitute(path.read_text(), edit))
    return _mark_version(tree / "debian" / "changelog", recipe, suite)


def substitute(text: str, edit: Edit) -> str:
    """One edit. Raises RecipeError when nothing matches."""
    changed, number = re.subn(
        edit.find, lambda _: edit.replace, text, count=edit.count, flags=re.MULTILINE
    )
    if number == 0:
        raise RecipeError(f"{edit.file} has no match for {edit.find!r}: the source has changed")
    return changed


def keep_packages(control: str, wanted: list[str]) -> str:
    """Leave only the source paragraph and the `wanted` binary packages of a control file."""
    if not wanted:
        return control
    source, *binaries = (part for part in re.split(r"\n[ \t]*\n+", control) if part.strip())
    kept = {}
    for paragraph in binaries:
        name = re.search(r"^Package:\s*(\S+)", paragraph, re.MULTILINE)
        if name and name[1] in wanted:
            kept[name[1]] = paragraph.strip("\n")
    if missing := sorted(set(wanted) - set(kept)):
        raise RecipeError(f"debian/control has no package {', '.join(missing)}")
    return "\n\n".join([source.strip("\n"), *kept.values()]) + "\n"


def build_depends(control: str, drop: list[str], replace: dict[str, str], add: list[str]) -> str:
    """Drop, replace and add entries of Build-Depends in a control file's first paragraph."""
    field = re.search(r"^Build-Depends:((?:.*\n)(?:[ \t#].*\n)*)", control, re.MULTILINE)
    if field is None:
        raise RecipeError("debian/control has no Build-Depends")
    lines = (line for line in field[1].split("\n") if not line.startswith("#"))
    entries = [entry.strip() for entry in " ".join(lines).split(",") if entry.strip()]
    names = {re.split(r"[\s(\[<:]", entry)[0] for entry in entries}
    if missing := sorted((set(drop) - names) | (set(replace) - set(entries))):
        raise RecipeError(f"Build-Depends has no {', '.join(missing)}: the source has changed")
    kept = [
        replace.get(entry, entry)
        for entry in entries
        if re.split(r"[\s(\[<:]", entry)[0] not in drop
    ]
    body = "".join(f" {entry},\n" for entry in [*kept, *add])
    return control[: field.start()] + f"Build-Depends:\n{body}" + control[field.end() :]


def _replace_packaging(tree: Path, directory: str) -> None:
    new, old = tree / directory, tree / "debian"
    if not (new / "control").is_file():
        raise RecipeError(f"the source has no packaging in {directory}")
    # Debian's changelog says which version this is, its patches are applied already. A project's
    # tarball has none of them but those of its packaging.
    kept = {path.name for path in old.iterdir()} & {"changelog", "patches", "source"}
    for name in [*(path.name for path in old.iterdir())]:
        if name not in kept:
            _remove(old / name)
    for path in new.iterdir():
        if path.name not in kept:
            path.rename(old / path.name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            _remove(child)
        path.rmdir()
    else:
        path.unlink()


def _mark_version(changelog: Path, recipe: Recipe, suite: str) -> str:
    text = changelog.read_text() if changelog.exists() else ""
    head = re.match(r"\S+ \(([^)]+)\)", text)
    version = recipe.version
    if version is None and head:
        version = backport_version(head[1], suite, recipe.revision)
    if version is None:
        raise RecipeError("debian/changelog has no version, and the recipe gives none")
    # The date of the last entry stays: it is the build's SOURCE_DATE_EPOCH.
    signature = re.search(r"^ -- .*?>  (.+)$", text, re.MULTILINE)
    date = signature[1] if signature else "Thu, 01 Jan 2026 00:00:00 +0000"
    entry = (
        f"{recipe.source} ({version}) {suite}; urgency=medium\n\n"
        f"  * Built for {suite} by voip-stack.\n\n"
        f" -- voip-stack <voip-stack@localhost>  {date}\n\n"
    )
    changelog.write_text(entry + text)
    return version
