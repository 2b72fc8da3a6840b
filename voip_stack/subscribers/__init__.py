"""Subscribers: pillar/subscribers/ read, validated and compiled to what the database holds.

files(directory) -> list[Path]     the YAML and CSV files
compiled(directory, domain, ...)   -> Directory; PillarError with every problem of every file
EMPTY                              a Directory of nobody
"""

from voip_stack.subscribers.compile import compiled
from voip_stack.subscribers.directory import EMPTY, Directory, Entry
from voip_stack.subscribers.sources import FOLDER, files

__all__ = ["EMPTY", "FOLDER", "Directory", "Entry", "compiled", "files"]
