"""Bundles of DAG files for tests: of texts, and of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from wms_grpc.domain.tasks import BatchWork, Task
from wms_grpc.gateway.dagman import Dagman
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.model import Bundle, Finding, Refused, Translation

__all__ = [
    "CORPUS",
    "batch",
    "bundle",
    "corpus",
    "found",
    "read",
    "read_job",
    "refused",
    "returns_the_same",
    "task",
]

CORPUS = Path(__file__).parent.parent.parent / "corpus" / "dagman"


def corpus() -> dict[str, bytes]:
    """The DAG files of the corpus, by their names."""
    return {path.name: path.read_bytes() for path in sorted(CORPUS.glob("*.dag"))}


def bundle(main: str, files: dict[str, str] | None = None, name: str = "main.dag") -> Bundle:
    """A main file's text, and further files."""
    texts = {name: main, **(files or {})}
    return Bundle({path: text.encode() for path, text in texts.items()}, name)


def read(main: str, files: dict[str, str] | None = None, name: str = "main.dag") -> Translation:
    """What a main file and further files are read as."""
    return Dagman().read(bundle(main, files, name))


def read_job(submit: str, variables: str = "") -> tuple[BatchWork, Translation]:
    """The work of a node A with that submit file and those VARS."""
    vars_line = f"VARS A {variables}\n" if variables else ""
    translation = read(f"JOB A a.sub\n{vars_line}", {"a.sub": submit})
    return batch(translation, "A"), translation


def refused(main: str, files: dict[str, str] | None = None) -> Finding:
    """Why the files are refused."""
    with pytest.raises(Refused) as caught:
        read(main, files)
    return caught.value.finding


def task(translation: Translation, name: str) -> Task:
    """The task of that name."""
    return next(task for task in translation.workflow.tasks if task.name == name)


def batch(translation: Translation, name: str) -> BatchWork:
    """The batch work of that task."""
    work = task(translation, name).work
    assert isinstance(work, BatchWork)
    return work


def found(translation: Translation, code: str) -> list[Finding]:
    """The findings with that code."""
    return [finding for finding in translation.findings if finding.code == code]


def returns_the_same(translation: Translation) -> None:
    """Assert that the workflow, written and read again, is equal."""
    language = Dagman()
    written = language.write(translation.workflow)
    again = language.read(written.bundle)
    assert differences(translation.workflow, again.workflow) == []
