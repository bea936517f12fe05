"""One job of a job description, made a task."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wms_grpc.domain.tasks import BatchWork, Recovery, Script, Task
from wms_grpc.gateway.jdl_said import Report, Said, Sayings
from wms_grpc.gateway.jdl_syntax import Path, Text, Value
from wms_grpc.gateway.jdl_words import (
    INHERITED,
    is_about_glue,
    is_expanded,
    joined_arguments,
    split_arguments,
    why_without_counterpart,
)
from wms_grpc.gateway.model import MAX_DEPTH, FindingSeverity
from wms_grpc.gateway.sources import Source

__all__ = ["JobSayings", "References", "jdl_annotations", "kept", "max_tries", "task_from"]

References = Callable[[Said, Path], tuple[str, ...]]
"""The files that a path in an InputSandbox stands for. Raises Refused where it leads nowhere."""

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_WILDCARD: Final = re.compile(r"[*?\[]")
_JOB_TYPES: Final[Mapping[str, tuple[FindingSeverity, str]]] = {
    "checkpointable": ("warning", "a try begins from the start; no state of the job is saved"),
    "interactive": ("error", "nobody is connected to a job's input and output"),
    "mpich": ("error", "nothing starts a job's processes on several machines"),
    "multiple": ("error", "nothing starts a job's processes on several machines"),
}


@dataclass(frozen=True, slots=True)
class JobSayings:
    """What is said of one job: in its description, at its node, and of the whole dag; and where
    the description begins.
    """

    source: Source
    start: int
    own: Sayings
    node: Sayings = field(default_factory=dict)
    dag: Sayings = field(default_factory=dict)


def jdl_annotations(**parts: object) -> dict[str, object]:
    """Return the annotations under the language's name, without what is empty."""
    said = {name: part for name, part in parts.items() if part}
    return {"jdl": said} if said else {}


def kept(sayings: Sayings, names: frozenset[str] | set[str], report: Report) -> dict[str, str]:
    """Return, as they are written, the attributes of those names, and report them."""
    attributes: dict[str, str] = {}
    for name, said in sayings.items():
        if name in names:
            severity, why = why_without_counterpart(name)
            report.note(said, "NO_COUNTERPART", f"{said.name}: {why}", severity)
            attributes[said.name] = said.written
            report.made(said, 100 + len(attributes[said.name]))
    return attributes


def task_from(
    name: str,
    sayings: JobSayings,
    references: References,
    report: Report,
    at_node: Mapping[str, str] | None = None,
) -> Task:
    """Return the task that a job is; `at_node` is kept with it. Raises Refused."""
    return _Job(name, sayings, references, report).task(at_node or {})


def max_tries(sayings: JobSayings, report: Report) -> int:
    """Return how often a job is tried: what stands nearest to it holds."""
    at_node, own = sayings.node.get("node_retry_count"), sayings.own.get("retrycount")
    of_dag = ("node_retry_count", "defaultnoderetrycount", "retrycount")
    places = (at_node, own, *(sayings.dag.get(word) for word in of_dag))
    said = next((place for place in places if place is not None), None)
    if said is None:
        return 1
    n_retries = said.integer()
    if at_node is not None and own is not None and own.integer() != n_retries:
        message = f"{at_node.name} of the node holds, not {own.name} of its job"
        report.note(own, "CONFLICT", message)
    if n_retries < 0:
        report.note(said, "OUT_OF_RANGE", f"{n_retries} retries are taken as none")
    return max(n_retries, 0) + 1


class _Job:
    def __init__(
        self, name: str, sayings: JobSayings, references: References, report: Report
    ) -> None:
        self._name = name
        self._sayings = sayings
        self._references = references
        self._report = report
        self._taken: set[str] = {"type", "retrycount"}
        self._annotated: dict[str, str] = {}

    def task(self, at_node: Mapping[str, str]) -> Task:
        """Read every attribute; what is left is kept as an annotation."""
        self._job_type()
        executable = self._text("Executable")
        if not executable:
            raise self._sayings.source.refused(
                "NO_EXECUTABLE", "a job without an Executable", self._sayings.start, self._name
            )
        work = BatchWork(
            executable=executable,
            arguments=self._arguments("Arguments"),
            environment=self._environment(),
            stdin=self._text("StdInput"),
            stdout=self._text("StdOutput"),
            stderr=self._text("StdError"),
            inputs=self._inputs(),
            outputs=self._texts("OutputSandbox"),
            n_cores=self._n_cores(),
            requirements=self._expression("Requirements"),
            rank=self._expression("Rank"),
        )
        pre, post = self._script("Prologue"), self._script("Epilogue")
        recovery = Recovery(max_tries=max_tries(self._sayings, self._report))
        rest = self._sayings.own.keys() - self._taken
        attributes = self._annotated | kept(self._sayings.own, rest, self._report)
        return Task(
            self._name,
            work,
            recovery=recovery,
            pre=pre,
            post=post,
            annotations=jdl_annotations(attributes=attributes, node=dict(at_node)),
        )

    def _get(self, name: str) -> Said | None:
        lower = name.lower()
        self._taken.add(lower)
        own = self._sayings.own.get(lower)
        if own is None and lower in INHERITED:
            return self._sayings.dag.get(lower)
        return own

    def _text(self, name: str) -> str:
        said = self._get(name)
        if said is None:
            return ""
        return self._text_of(said, said.value) if isinstance(said.value, Path) else said.text()

    def _texts(self, name: str) -> tuple[str, ...]:
        said = self._get(name)
        if said is None:
            return ()
        self._report.made(said, 64 * len(said.items()))
        return tuple(self._text_of(said, item) for item in said.items())

    def _text_of(self, said: Said, value: Value, depth: int = 0) -> str:
        """Return a text, or that of another attribute of the job which is named instead."""
        other = self._named(value)
        if other is None or depth > MAX_DEPTH:
            return said.text_of(value)
        return self._text_of(other, other.value, depth + 1)

    def _named(self, value: Value) -> Said | None:
        if not isinstance(value, Path) or len(value.parts) != 1:
            return None
        word = str(value.parts[0]).lower()
        return self._sayings.own.get(word) or self._sayings.dag.get(word)

    def _arguments(self, name: str) -> tuple[str, ...]:
        said = self._get(name)
        if said is None:
            return ()
        text = said.text()
        self._report.made(said, 2 * len(text))
        words = split_arguments(text)
        if words is None:
            message = "a quote is not closed; the words are taken as blanks part them"
            self._report.note(said, "UNBALANCED_QUOTES", message)
            return tuple(text.split())
        if is_expanded(text):
            self._expanded(said)
        if words and joined_arguments(words) != text:
            self._annotated[name] = said.written
        return words

    def _environment(self) -> dict[str, str]:
        said = self._get("Environment")
        environment: dict[str, str] = {}
        for entry in said.texts() if said else ():
            assert said is not None
            self._report.made(said, 200 + len(entry))
            name, is_assignment, value = entry.partition("=")
            if not is_assignment or not name.strip():
                message = f"{entry!r} is no NAME=VALUE, and is left out"
                self._report.note(said, "BAD_ENVIRONMENT", message)
                continue
            if name.strip() in environment:
                message = f"{name.strip()} is set again; only the last holds"
                self._report.note(said, "DUPLICATE_ATTRIBUTE", message)
            if is_expanded(value) and "$" in value:
                self._expanded(said)
            environment[name.strip()] = value
        return environment

    def _expanded(self, said: Said) -> None:
        message = f"{said.name} is taken as it stands: no shell expands it at the worker"
        self._report.note(said, "SHELL_EXPANSION", message)

    def _inputs(self) -> tuple[str, ...]:
        base = self._text("InputSandboxBaseURI")
        said = self._get("InputSandbox")
        files: list[str] = []
        for item in said.items() if said else ():
            assert said is not None
            if isinstance(item, Path) and self._named(item) is None:
                files += self._references(said, item)
                continue
            file = self._text_of(said, item)
            if file.startswith("task:"):
                message = "no file may be called so: task: stands for another task's output"
                raise said.refused("BAD_REFERENCE", message, item.start)
            if _WILDCARD.search(file) and not _URL.match(file):
                message = f"{file} is taken as a name: wildcards are not expanded"
                self._report.note(said, "WILDCARD", message)
            is_based = base and not file.startswith("/") and not _URL.match(file)
            self._report.made(said, 64 + (len(base) + len(file) if is_based else 0))
            files.append(f"{base.rstrip('/')}/{file}" if is_based else file)
        return tuple(files)

    def _n_cores(self) -> int | None:
        cores, together = self._get("CPUNumber"), self._sayings.own.get("smpgranularity")
        n_cores = cores.integer() if cores else None
        if cores is not None and n_cores is not None and n_cores < 1:
            raise cores.refused("OUT_OF_RANGE", "CPUNumber must be 1 at least")
        if together is not None and together.integer() == (n_cores or 1):
            # As it is here: all on one machine.
            self._taken.add("smpgranularity")
            self._annotated[together.name] = together.written
        return n_cores

    def _expression(self, name: str) -> str:
        said = self._get(name)
        if said is None:
            return ""
        if is_about_glue(said.written):
            if said is self._sayings.own.get(name.lower()):
                self._taken.discard(name.lower())
            return ""
        return said.value.text if isinstance(said.value, Text) else said.written

    def _script(self, name: str) -> Script | None:
        said = self._get(name)
        if said is None or not said.text():
            unused = self._get(f"{name}Arguments")
            if unused is not None:
                self._report.note(unused, "UNUSED", f"{unused.name}: there is no {name}", "info")
            return None
        arguments = self._arguments(f"{name}Arguments")
        message = f"{said.name} is a small job of its own here, not a part of the job at its worker"
        self._report.note(said, "APPROXIMATE", message, "info")
        return Script(said.text(), arguments)

    def _job_type(self) -> None:
        said = self._get("JobType")
        for text in said.texts() if said else ():
            assert said is not None
            if text.lower() == "normal":
                continue
            if text.lower() not in _JOB_TYPES:
                message = f"a job of type {text} is no task: there are Normal and Parametric"
                raise said.refused("JOB_TYPE", message)
            severity, why = _JOB_TYPES[text.lower()]
            self._report.note(said, "JOB_TYPE", f"{text}: {why}", severity)
            self._annotated[said.name] = said.written
