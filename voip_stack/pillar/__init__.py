"""The pillar: what a user edits, checked by a schema, compiled for each minion.

load(directory) -> Pillar          every file read, merged and validated; PillarError when refused
current(directory) -> Pillar       the same, kept until a file changes
compile_for(pillar, host, facts)   -> dict, what that host's states read as pillar['voip']
"""

from voip_stack.pillar.compile import compile_for
from voip_stack.pillar.load import current, load
from voip_stack.pillar.problems import PillarError, PillarProblem
from voip_stack.pillar.schema import Pillar

__all__ = ["Pillar", "PillarError", "PillarProblem", "compile_for", "current", "load"]
