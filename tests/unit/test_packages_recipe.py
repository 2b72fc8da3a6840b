"""What recipes do to a source tree, and that they refuse one that they do not fit."""

import pytest

from voip_stack.packages import recipe
from voip_stack.packages.recipe import Edit, Recipe, RecipeError

CONTROL = """\
Source: thing
Build-Depends:
 debhelper-compat (= 14),
 libfoo-dev [linux-any],
# a comment
 libbar-dev (>= 2),
 doc-tool <!nodoc>,
Standards-Version: 4.7

Package: thing
Architecture: any
Description: A thing
 .
 Of two paragraphs.

# about the next one
Package: thing-extra
Architecture: any
Description: More
"""
CHANGELOG = """\
thing (1.0-1) unstable; urgency=medium

  * News.

 -- Someone <a@example.org>  Thu, 28 Aug 2025 12:54:46 +0200
"""


def tree(directory):
    (directory / "debian").mkdir()
    (directory / "debian" / "control").write_text(CONTROL)
    (directory / "debian" / "changelog").write_text(CHANGELOG)
    (directory / "debian" / "rules").write_text("FLAGS = -O3\nGROUPS += a\nGROUPS += b\n")
    return directory


def test_apply(tmp_path):
    wanted = Recipe(
        source="thing",
        keep_packages=["thing"],
        build_depends={"debhelper-compat (= 14)": "debhelper-compat (= 13)"},
        drop_build_depends=["libfoo-dev", "doc-tool"],
        add_build_depends=["libnew-dev"],
        edits=[
            Edit(file="debian/rules", find=r"-O3", replace="-O2"),
            Edit(file="debian/rules", find=r"^GROUPS \+= (?!a$).*\n", replace=""),
        ],
    )
    version = recipe.apply(wanted, tree(tmp_path), "bookworm")
    assert version == "1.0-1~voip12+1"
    control = (tmp_path / "debian" / "control").read_text()
    assert control == (
        "Source: thing\nBuild-Depends:\n debhelper-compat (= 13),\n libbar-dev (>= 2),\n"
        " libnew-dev,\nStandards-Version: 4.7\n\n"
        "Package: thing\nArchitecture: any\nDescription: A thing\n .\n Of two paragraphs.\n"
    )
    assert (tmp_path / "debian" / "rules").read_text() == "FLAGS = -O2\nGROUPS += a\n"
    changelog = (tmp_path / "debian" / "changelog").read_text()
    assert changelog.startswith("thing (1.0-1~voip12+1) bookworm;")
    assert changelog.endswith(CHANGELOG)
    # The date of the source stays: the build is as reproducible as Debian's.
    assert changelog.count("Thu, 28 Aug 2025 12:54:46 +0200") == 2


def test_a_raised_revision_is_a_newer_version_and_another_content(tmp_path):
    first, second = Recipe(source="thing"), Recipe(source="thing", revision=2)
    assert recipe.apply(second, tree(tmp_path), "bookworm") == "1.0-1~voip12+2"
    assert "revision" not in first.content()
    assert first.content() | {"revision": 2} == second.content()


def test_packaging_from_the_tree(tmp_path):
    tree(tmp_path)
    new = tmp_path / "pkg" / "bookworm"
    new.mkdir(parents=True)
    (new / "control").write_text(CONTROL.replace("libfoo", "libother"))
    (new / "changelog").write_text("thing (0.1) unstable; urgency=low\n")
    (tmp_path / "debian" / "patches").mkdir()
    recipe.apply(Recipe(source="thing", packaging="pkg/{suite}"), tmp_path, "bookworm")
    assert "libother" in (tmp_path / "debian" / "control").read_text()
    assert not (tmp_path / "debian" / "rules").exists()
    assert (tmp_path / "debian" / "patches").is_dir()
    assert "thing (1.0-1~voip12+1)" in (tmp_path / "debian" / "changelog").read_text()


def test_a_tarballs_packaging_says_its_version(tmp_path):
    (tmp_path / "debian").mkdir()
    new = tmp_path / "packaging"
    new.mkdir()
    (new / "control").write_text(CONTROL)
    (new / "changelog").write_text(CHANGELOG)
    version = recipe.apply(Recipe(source="thing", packaging="packaging"), tmp_path, "bookworm")
    assert version == "1.0-1~voip12+1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edits": [Edit(file="debian/rules", find="gone", replace="")]}, "no match for 'gone'"),
        ({"edits": [Edit(file="debian/none", find="x", replace="")]}, "debian/none is not in"),
        ({"drop_build_depends": ["libgone-dev"]}, "no libgone-dev"),
        ({"build_depends": {"old (= 1)": "new"}}, "no old (= 1)"),
        ({"keep_packages": ["thing", "thing-gone"]}, "no package thing-gone"),
        ({"packaging": "pkg/{suite}"}, "no packaging in pkg/bookworm"),
    ],
)
def test_a_source_that_changed_is_refused(tmp_path, changes, said):
    with pytest.raises(RecipeError, match=said.replace("(", r"\(").replace(")", r"\)")):
        recipe.apply(Recipe(source="thing", **changes), tree(tmp_path), "bookworm")


@pytest.mark.parametrize("path", sorted(recipe.RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_the_tree_load(path):
    assert recipe.load(path.stem).source
