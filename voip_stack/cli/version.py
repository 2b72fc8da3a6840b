"""`./voip --version`."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version

from voip_stack import paths


def text() -> str:
    """Version of the project, its Salt and its Python."""
    import platform

    project = tomllib.loads((paths.checkout() / "pyproject.toml").read_text())["project"]
    try:
        salt = version("salt")
    except PackageNotFoundError:
        salt = "missing"
    return f"voip-stack {project['version']} (Salt {salt}, Python {platform.python_version()})"
