"""Connections from the control host into a lab, made inside its network namespace.

A socket belongs to the namespace in which it was made, whoever uses it later. So a thread enters
that namespace (setns(2) is per thread), makes the socket, and ends; nothing else here moves.
"""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CLONE_NEWNET = 0x40000000


def connect(namespace: Path, address: str, port: int, timeout_s: float) -> socket.socket:
    """A connected TCP socket. Raises OSError as socket.create_connection does."""

    def make() -> socket.socket:
        with open(namespace) as handle:
            libc = ctypes.CDLL(None, use_errno=True)  # os.setns is Python 3.12's
            if libc.setns(handle.fileno(), CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(namespace))
        return socket.create_connection((address, port), timeout=timeout_s)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()
