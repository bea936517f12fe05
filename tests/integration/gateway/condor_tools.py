"""HTCondor's own tools from the root file system of the pool that `make condor` installs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wms_grpc.gateway.model import Bundle

__all__ = ["CHECKER", "check", "dry_run", "laid_out"]

_ROOT = Path(os.environ.get("EWMS_POOL_HOME", "/opt/ewms-htcondor")) / "rootfs"
_BIN = _ROOT / "usr" / "bin"
CHECKER = _BIN / "condor_dag_checker"


def _run(tool: str, *arguments: str, cwd: Path) -> str:
    """Run a tool of the pool's distribution, outside of its root and without a configuration."""
    if not CHECKER.exists():
        pytest.skip("no condor_dag_checker: `make condor` installs it")
    libraries = [_ROOT / "usr" / "lib" / part for part in ("x86_64-linux-gnu", "condor", "")]
    command = [
        str(_ROOT / "lib64" / "ld-linux-x86-64.so.2"),
        "--library-path", ":".join(str(path) for path in libraries),
        str(_BIN / tool), *arguments,
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "CONDOR_CONFIG": "/dev/null", "HOME": str(cwd)}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def check(folder: Path, main: str, *options: str) -> dict[str, Any]:
    """What condor_dag_checker says of a DAG file: its statistics and `Errors`."""
    out = _run("condor_dag_checker", "-json", *options, main, cwd=folder)
    report: dict[str, Any] = json.loads(out)[0]
    return report


def dry_run(folder: Path, submit_file: str) -> dict[str, str]:
    """The attributes of the first job that condor_submit would make of a submit file."""
    out = _run("condor_submit", "-dry-run", "-", submit_file, cwd=folder)
    attributes: dict[str, str] = {}
    for line in out.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.isidentifier():
            attributes.setdefault(name, value)
    assert attributes, out
    return attributes


def laid_out(bundle: Bundle, folder: Path) -> Path:
    """The folder with the files of the bundle in it."""
    for path, content in bundle.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
