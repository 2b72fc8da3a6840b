"""Where packages come from: Debian, a vendor's repository, a local directory, or built here.

prepare(...) chooses a source for every component, makes what has to be made, and fills the
directory that Salt serves to the minions. See prepare.py.
"""

from voip_stack.packages.prepare import Choice, prepare

__all__ = ["Choice", "prepare"]
