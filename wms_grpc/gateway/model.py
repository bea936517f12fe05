"""What every language is read into and written from: a bundle, a workflow, findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from wms_grpc.domain.findings import Finding, FindingSeverity, Position
from wms_grpc.domain.nets import Annotations, Dependency, Net, net_of_dependencies
from wms_grpc.domain.tasks import Task

__all__ = [
    "MAX_DEPTH",
    "MAX_EXPRESSION",
    "MAX_NODES",
    "MAX_TOKEN",
    "Bundle",
    "Finding",
    "FindingSeverity",
    "Language",
    "Position",
    "Refused",
    "Translation",
    "Workflow",
    "Writer",
    "Written",
]

MAX_DEPTH: Final = 100
"""Of anything that nests: records, elements, splices."""
MAX_NODES: Final = 1_000_000
"""Of nodes, and of edges, once splices are expanded."""
MAX_TOKEN: Final = 64 * 1024
"""Bytes of one token of a language."""
MAX_EXPRESSION: Final = 4 * 1024
"""Bytes of one expression."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files by their paths in the bundle, and the one to begin with."""

    files: Mapping[str, bytes]
    main: str


class Refused(Exception):
    """A file that cannot be translated; the finding says why and where."""

    def __init__(self, finding: Finding) -> None:
        where = finding.position
        super().__init__(f"{where.file}:{where.line}:{where.column}: {finding.message}")
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow in no particular language.

    Either `dependencies` order the tasks, or `net` was given as a net and its transitions name
    them.

    Parameters
    ----------
    max_running, max_idle
        How many tasks may run, or wait in a pool's queue, at a time; None: any number.
    category_limits
        How many tasks of each category may run at a time.
    annotations
        What its language says beyond the model, under the language's name.
    """

    name: str
    tasks: tuple[Task, ...]
    dependencies: tuple[Dependency, ...] = ()
    given_net: Net | None = None
    max_running: int | None = None
    max_idle: int | None = None
    category_limits: Mapping[str, int] = field(default_factory=dict)
    public_aliases: tuple[str, ...] = ()
    priority: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Annotations = field(default_factory=dict)

    @property
    def net(self) -> Net:
        """The net: as it was given, or of the dependencies of those that are part of it."""
        if self.given_net is not None:
            return self.given_net
        nodes = [task.name for task in self.tasks if task.role == "node"]
        return net_of_dependencies(nodes, self.dependencies)


@dataclass(frozen=True, slots=True)
class Translation:
    """A workflow read, and what had no counterpart. Findings of severity `error` forbid its
    submission, not its reading.

    `positions` says where tasks and places stand, by name, so that the analysis can say so too.
    """

    language: str
    workflow: Workflow
    findings: tuple[Finding, ...] = ()
    positions: Mapping[str, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """A workflow written: files by path, the one to begin with, and what could not be said."""

    bundle: Bundle
    findings: tuple[Finding, ...] = ()


class Language(Protocol):
    """A language that is read."""

    @property
    def name(self) -> str:
        """Its name, as users give it (`dagman`, `jdl`, …)."""

    def claims(self, bundle: Bundle) -> bool:
        """Whether the main file, by its content and name, is in this language. Cheap."""

    def read(self, bundle: Bundle) -> Translation:
        """Translate. Raises Refused."""


class Writer(Protocol):
    """A language that is written."""

    @property
    def name(self) -> str:
        """Its name."""

    def write(self, workflow: Workflow) -> Written:
        """Write. Raises Refused where the language cannot express the workflow at all."""
