"""What a test declares in the pillar for a while, and the states make real."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from voip_stack.paths import pillar_dir

Salt = Callable[..., Any]
TRUNKS = "cleartext_trunks: []"


@contextlib.contextmanager
def subscribers(salt: Salt, name: str, table: str) -> Iterator[None]:
    """The subscribers of a CSV table, in the database and in the PBX; nobody of them afterwards.

    name: of the test, which tells its file from others.
    """
    path = pillar_dir() / "subscribers" / f"zz-{name}-test.csv"
    path.write_text(table)
    try:
        _apply(salt, ("sip-1", "subscribers"), ("pbx-1", "asterisk"))
        yield
    finally:
        path.unlink()
        _apply(salt, ("sip-1", "subscribers"), ("pbx-1", "asterisk"))


@contextlib.contextmanager
def trunk(salt: Salt, proxy: str, address: str) -> Iterator[None]:
    """An address that may speak cleartext SIP to that proxy."""
    path = pillar_dir() / "policies.yaml"
    before = path.read_text()
    assert TRUNKS in before
    path.write_text(before.replace(TRUNKS, f'cleartext_trunks: ["{address}"]'))
    try:
        _apply(salt, ("sip-1", proxy))
        yield
    finally:
        path.write_text(before)
        _apply(salt, ("sip-1", proxy))


def _apply(salt: Salt, *states: tuple[str, str]) -> None:
    for host, sls in states:
        returns = salt(host, "state.apply", sls, timeout_s=180)
        failed = [item["comment"] for item in returns.values() if item["result"] is False]
        assert failed == []
