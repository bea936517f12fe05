"""Makes the pilot one executable file with its interpreter: `build/ewms-pilot`.

A worker needs nothing but a C library at least as new as this machine's. PyInstaller follows the
pilot's imports, so what is in the file is what the pilot needs; a list of what must never be there
proves that it stays light. When it starts, it unpacks itself below TMPDIR (on HTCondor the job's
own folder), and removes that again at its end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import PyInstaller.__main__
from PyInstaller.archive.readers import CArchiveReader

ROOT = Path(__file__).resolve().parent.parent
ENTRY = ROOT / "peers" / "ewms_pilot" / "main.py"
SEARCHED = [ROOT / "peers", ROOT / "clients"]

# Other programs' libraries: one of these in the file means that an import went astray.
_FOREIGN = {
    *("ewms_rpc", "ewms_postgres", "wms_grpc", "ewms_client", "ewms_mqs", "ewms_tms"),
    *("sqlalchemy", "asyncpg", "pydantic", "pydantic_core", "structlog", "typer", "rich"),
    *("cryptography", "joserfc"),
}
# Followed because grpcio, yarl (of the AMQP client) or the standard library mention them for those
# who have them, and never used by a pilot.
_UNUSED = (
    *("grpc_tools", "grpc_health", "grpc_reflection", "gevent", "uvloop", "setuptools", "pip"),
    *("pydantic", "pydantic_core", "rich"),
    *("tkinter", "unittest", "pydoc", "doctest", "sqlite3", "curses", "lib2to3", "distutils"),
)


def build(target: Path) -> None:
    """Make the executable file `target`."""
    work = target.parent / "pilot-work"
    PyInstaller.__main__.run(
        [
            str(ENTRY),
            "--onefile",
            f"--name={target.name}",
            f"--distpath={target.parent}",
            f"--workpath={work}",
            f"--specpath={work}",
            "--noconfirm",
            "--log-level=WARN",
            # The version that `--version` prints.
            "--copy-metadata=ewms-grpc",
            *(f"--paths={folder}" for folder in SEARCHED),
            *(f"--exclude-module={name}" for name in _UNUSED),
        ]
    )


def contents(target: Path) -> list[str]:
    """Every module and file that is in the executable."""
    archive = CArchiveReader(str(target))
    modules = archive.open_embedded_archive("PYZ.pyz")
    return sorted([*archive.toc, *modules.toc])


def main() -> int:
    """Build it and try it: 0 if it starts and is light."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=ROOT / "build" / "ewms-pilot")
    target: Path = parser.parse_args().target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    build(target)
    astray = {name for name in contents(target) if name.split(".")[0].split("/")[0] in _FOREIGN}
    if astray:
        sys.stderr.write(f"build_pilot: these do not belong in a pilot: {sorted(astray)}\n")
        return 1
    said = subprocess.run([target, "--version"], check=True, stdout=subprocess.PIPE, text=True)
    size = target.stat().st_size / 2**20
    sys.stdout.write(f"build_pilot: {target}, {size:.0f} MiB: {said.stdout}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
