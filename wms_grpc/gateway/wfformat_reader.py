"""WfCommons WfFormat: executions of real workflows, as JSON.

A task's id is its name. What was measured is kept in the annotations of its task, under
`wfformat`, for simulations and for the analysis (`measured_durations`). A task is the batch job
that ran; with `simulate`, a small job that sleeps and writes as it did, scaled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from wms_grpc.domain.tasks import BatchWork, Task
from wms_grpc.domain.words import counted, first_few
from wms_grpc.gateway.model import Bundle, Finding, FindingSeverity, Refused, Translation, Workflow
from wms_grpc.gateway.positioned_json import Lines, decoded, parse_json
from wms_grpc.gateway.report import Report
from wms_grpc.gateway.wfformat_layouts import read_instance
from wms_grpc.gateway.wfformat_order import Order, order_of, refused_duplicate
from wms_grpc.gateway.wfformat_parts import Entry, Instance
from wms_grpc.gateway.wfformat_simulation import Simulation

__all__ = ["WfFormat", "measured_durations"]

_NAME: Final = "wfformat"
_VERSION: Final = re.compile(rb'"schemaVersion"\s*:\s*"')
_MOST_NAMES: Final = 5


class WfFormat:
    """Reads WfFormat. `simulate`: the scale of sleeps and sizes; None: the tasks as they ran."""

    name = _NAME

    def __init__(self, simulate: float | None = None) -> None:
        if simulate is not None and not (0 <= simulate < math.inf):
            raise ValueError("the scale of a simulation is a number from 0")
        self._simulate = simulate

    def claims(self, bundle: Bundle) -> bool:
        """Whether the main file is JSON with a version as only WfFormat has it, and a workflow."""
        content = bundle.files.get(bundle.main, b"")
        begins = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
        return begins and b'"workflow"' in content and _VERSION.search(content) is not None

    def read(self, bundle: Bundle) -> Translation:
        """Translate. Raises Refused."""
        content = bundle.files.get(bundle.main)
        if content is None:
            words = f"{bundle.main} is not in the bundle"
            raise Refused(Finding("MISSING_FILE", words, severity="error"))
        text = decoded(bundle.main, content)
        lines = Lines(bundle.main, text)
        report = Report()
        instance = read_instance(parse_json(text, lines), lines, report)
        refused = refused_duplicate(instance.entries, lines)
        if refused is not None:
            raise refused
        order = order_of(instance.entries, lines, report)
        tasks = _Tasks(bundle, instance, order, lines, report)
        return Translation(
            language=self.name,
            workflow=Workflow(
                name=instance.name or bundle.main.rpartition("/")[2].removesuffix(".json"),
                tasks=tasks.as_they_ran()
                if self._simulate is None
                else tasks.simulated(self._simulate),
                dependencies=order.dependencies(),
                annotations={_NAME: _said_of_workflow(instance)},
            ),
            findings=report.findings(),
            positions={entry.id: lines.at(entry.offset) for entry in instance.entries},
        )


def measured_durations(workflow: Workflow) -> dict[str, float]:
    """Return how many seconds tasks took when they were measured, by name."""
    durations: dict[str, float] = {}
    for task in workflow.tasks:
        said = task.annotations.get(_NAME)
        seconds = said.get("runtimeInSeconds") if isinstance(said, Mapping) else None
        if isinstance(seconds, (int, float)) and seconds >= 0:
            durations[task.name] = float(seconds)
    return durations


class _Tasks:
    """Makes the tasks of an instance."""

    def __init__(
        self, bundle: Bundle, instance: Instance, order: Order, lines: Lines, report: Report
    ) -> None:
        self._bundle = bundle
        self._instance = instance
        self._order = order
        self._lines = lines
        self._report = report

    def as_they_ran(self) -> tuple[Task, ...]:
        """Return a batch task for each, of the command that was recorded."""
        entries = self._instance.entries
        self._tell(
            "NO_COMMAND",
            "no command was recorded of {}; it can be simulated only",
            [entry for entry in entries if not _text_of(_command(entry).get("program"))],
            severity="error",
        )
        self._tell_missing_files(entries)
        return tuple(
            Task(entry.id, self._work(entry), priority=_priority(entry), annotations=_said(entry))
            for entry in entries
        )

    def simulated(self, scale: float) -> tuple[Task, ...]:
        """Return a batch task for each that sleeps and writes."""
        entries = self._instance.entries
        sizes = self._instance.files.sizes
        simulation = Simulation(
            scale, dict.fromkeys(r.name for e in entries for r in (*e.outputs, *e.inputs))
        )
        self._tell(
            "NO_RUNTIME",
            "no runtime is known of {}, so it does not sleep",
            [entry for entry in entries if _runtime(entry) is None],
        )
        self._tell(
            "NO_SIZE",
            "the size of a file that {} writes is not known, so it is empty",
            [entry for entry in entries if any(r.name not in sizes for r in entry.outputs)],
        )
        return tuple(
            Task(
                entry.id,
                simulation.work(
                    _runtime(entry) or 0.0,
                    [(task, file) for file, task in self._order.producers[entry.id].items()],
                    {r.name: sizes.get(r.name, 0) for r in entry.outputs},
                ),
                priority=_priority(entry),
                annotations=_said(entry, with_files=True),
            )
            for entry in entries
        )

    def _work(self, entry: Entry) -> BatchWork:
        command = _command(entry)
        arguments = command.get("arguments")
        cores = entry.measured.get("coreCount", entry.measured.get("cores"))
        n_cores = cores.value if cores is not None else None
        producers = self._order.producers[entry.id]
        return BatchWork(
            executable=_text_of(command.get("program")),
            arguments=tuple(
                argument if isinstance(argument, str) else str(argument)
                for argument in (arguments if isinstance(arguments, list) else ())
            ),
            inputs=tuple(
                f"task:{producers[file]}/{file}" if file in producers else file
                for file in dict.fromkeys(reference.name for reference in entry.inputs)
            ),
            outputs=tuple(dict.fromkeys(reference.name for reference in entry.outputs)),
            n_cores=_whole(n_cores) if _whole(n_cores) > 0 else None,
        )

    def _tell_missing_files(self, entries: Sequence[Entry]) -> None:
        missing: dict[str, int] = {}
        for entry in entries:
            producers = self._order.producers[entry.id]
            for reference in entry.inputs:
                is_made = reference.name in producers or "://" in reference.name
                if not is_made and reference.name not in self._bundle.files:
                    missing.setdefault(reference.name, reference.offset)
        if missing:
            names = list(missing)
            first = names[0]
            self._report.tell(
                "MISSING_FILE",
                f"{counted(len(names), 'file')} that no task makes must be there: "
                f"{first_few([name[:100] for name in names], _MOST_NAMES)}",
                self._lines.at(missing[first]),
                first,
                "error",
            )

    def _tell(
        self,
        code: str,
        words: str,
        entries: Sequence[Entry],
        severity: FindingSeverity = "warning",
    ) -> None:
        if entries:
            names = first_few([entry.id[:100] for entry in entries], _MOST_NAMES)
            first = entries[0]
            position = self._lines.at(first.offset)
            self._report.tell(code, words.format(names), position, first.id, severity)


def _said_of_workflow(instance: Instance) -> dict[str, object]:
    files = instance.files
    said = {**instance.rest, "sizes": files.sizes}
    return {**said, "files": files.rest} if files.rest else said


def _said(entry: Entry, *, with_files: bool = False) -> dict[str, object]:
    """Return what the file says of a task, as its annotations."""
    said: dict[str, object] = {"name": entry.label} if entry.label else {}
    said |= {key: value.plain() for key, value in entry.rest.items()}
    said |= {key: value.plain() for key, value in entry.measured.items()}
    if with_files:
        said["inputFiles"] = [reference.name for reference in entry.inputs]
        said["outputFiles"] = [reference.name for reference in entry.outputs]
    return {_NAME: said}


def _command(entry: Entry) -> Mapping[str, object]:
    command = entry.measured.get("command")
    said = command.plain() if command is not None else None
    return said if isinstance(said, dict) else {}


def _text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def _runtime(entry: Entry) -> float | None:
    value = entry.measured.get("runtimeInSeconds")
    seconds = value.value if value is not None else None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
        return None
    return float(seconds)


def _priority(entry: Entry) -> int:
    value = entry.measured.get("priority")
    return _whole(value.value if value is not None else None)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if abs(value) < 1 << 31 else 0
