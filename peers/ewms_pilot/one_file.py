"""What the pilot does first when it is one executable file with its interpreter.

The file's own starter unpacks everything, runs the pilot as its child with variables that lead to
what was unpacked, passes signals on to it and removes all that afterwards. Commands must see none
of those variables: with ours before theirs, their libraries would be ours. And the pilot must not
outlive its starter, which is the process that the pool knows. Run by an interpreter of the machine,
nothing here does anything.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import MutableMapping

__all__ = ["forget_unpacking", "settle_in"]

_PR_SET_PDEATHSIG = 1
_STARTERS = "_PYI_"
_SEARCHED = "LD_LIBRARY_PATH"
_SEARCHED_BEFORE = "LD_LIBRARY_PATH_ORIG"


def settle_in() -> None:
    """Make a pilot that was unpacked from one file like any other; to be called before all else."""
    if not getattr(sys, "frozen", False):
        return
    forget_unpacking(os.environ)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def forget_unpacking(environ: MutableMapping[str, str]) -> None:
    """Give the environment back what it had before the file was unpacked."""
    for name in [name for name in environ if name.startswith(_STARTERS)]:
        del environ[name]
    before = environ.pop(_SEARCHED_BEFORE, None)
    if before is None:
        environ.pop(_SEARCHED, None)
    else:
        environ[_SEARCHED] = before
