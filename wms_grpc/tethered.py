"""A command as a child that never outlives its parent: `python -m wms_grpc.tethered PID ARGS…`.

However the parent PID ends, the kernel kills this process with it, so that a stack whose head was
killed leaves its addresses free. Only what the one command needs is imported, since the stack is
ready when its slowest part is; all the rest is the command's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from importlib.metadata import distribution
from typing import Any

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
    _command(sys.argv[1])(prog_name="ewms")


def _command(name: str) -> Any:
    """The commands of the part of that name, without those of any other."""
    # structlog and Typer import it wherever it is, and a child has no terminal to be coloured.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from typer.main import get_group

    (part,) = distribution("ewms-grpc").entry_points.select(group="ewms.commands", name=name)
    return get_group(part.load())


if __name__ == "__main__":
    main()
