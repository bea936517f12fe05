"""Runs `ewms` as a child that never outlives its parent: `python -m wms_grpc.tethered PID ARGS…`.

However the parent PID ends, the kernel kills this process with it, so that a stack whose head was
killed leaves its addresses free. Nothing but the kernel's promise is set up here; all the rest is
the command's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from importlib.metadata import distribution

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind this process to its parent, then become the command."""
    parent = int(sys.argv.pop(1))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have ended before the promise was made.
    if os.getppid() != parent:
        sys.exit(1)
    ours = distribution("ewms-grpc").entry_points
    (command,) = ours.select(group="console_scripts", name="ewms")
    command.load()()


if __name__ == "__main__":
    main()
