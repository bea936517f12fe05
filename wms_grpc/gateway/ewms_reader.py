"""EWMS's own request, `SubmitWorkflowRequest` as JSON, read.

Every error has the line and the column of what it is about. What the model has no field for
(`request_id`, `validate_only`, `reserve`) is kept under `ewms` in the workflow's annotations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wms_grpc.domain.nets import Dependency, Net
from wms_grpc.domain.tasks import (
    BatchWork,
    ContainerWork,
    CustomWork,
    NoopWork,
    SubWorkflowWork,
    Task,
    TransferWork,
    WaitWork,
    Work,
)
from wms_grpc.gateway.cycles import find_cycle
from wms_grpc.gateway.ewms_fields import Fields, read_object
from wms_grpc.gateway.ewms_names import is_allowed, renamed_input, with_own_name
from wms_grpc.gateway.ewms_net import read_net
from wms_grpc.gateway.json_text import Json, parse_json, plain
from wms_grpc.gateway.json_values import (
    bool_of,
    integer_of,
    mapping_of,
    names_of,
    text_map_of,
    text_of,
)
from wms_grpc.gateway.model import (
    MAX_NODES,
    Bundle,
    Finding,
    Position,
    Refused,
    Translation,
    Workflow,
)
from wms_grpc.gateway.sources import Source

__all__ = ["KINDS", "read_ewms", "speaks_ewms"]

KINDS: Final[Mapping[str, type[Work]]] = {
    "batch": BatchWork,
    "data_transfer": TransferWork,
    "sub_workflow": SubWorkflowWork,
    "wait": WaitWork,
    "noop": NoopWork,
    "custom": CustomWork,
}
"""The kinds of tasks that are objects of their own; a task without one is a container's."""

_WFFORMAT: Final = re.compile(rb'"schemaVersion"\s*:|"workflow"\s*:\s*\{')


@dataclass(frozen=True, slots=True)
class Reserve:
    """Room that is held at a location: so many workers, for so many seconds."""

    cluster_location: str
    n_workers: int
    time_to_live: float


def speaks_ewms(bundle: Bundle) -> bool:
    """Whether the main file is a JSON object with tasks that is no instance of WfFormat."""
    data = bundle.files.get(bundle.main, b"")
    is_object = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    return is_object and b'"tasks"' in data and not _WFFORMAT.search(data)


def read_ewms(bundle: Bundle) -> Translation:
    """Translate. Raises Refused."""
    data = bundle.files.get(bundle.main)
    if data is None:
        where = Position(bundle.main)
        raise Refused(Finding("MISSING_FILE", "the main file is not there", where, "", "error"))
    source = Source.decoded(bundle.main, data)
    request = _Request(source, parse_json(source), bundle)
    workflow = request.workflow()
    return Translation("ewms", workflow, tuple(request.findings))


class _Request:
    def __init__(self, source: Source, json: Json, bundle: Bundle) -> None:
        self._source = source
        self._bundle = bundle
        self.findings: list[Finding] = []
        self._fields = Fields(source, json, "the request")
        self._names: dict[str, str] = {}
        """By the names in the file."""
        self._waits: list[tuple[str, list[Json]]] = []
        self._helpers: list[tuple[str, int]] = []

    def workflow(self) -> Workflow:
        """Read it."""
        fields = self._fields
        tasks = self._tasks()
        dependencies = self._dependencies()
        self._check_helpers()
        workflow = Workflow(
            name=fields.text("name"),
            tasks=tasks,
            dependencies=dependencies,
            given_net=self._net(dependencies),
            max_running=fields.number("max_running", 1, 2**31 - 1),
            max_idle=fields.number("max_idle", 1, 2**31 - 1),
            category_limits=self._category_limits(),
            public_aliases=self._public_aliases(),
            priority=fields.number("priority", 0, 100),
            labels=self._labels(),
            annotations=self._annotations(),
        )
        fields.done()
        return workflow

    def _tasks(self) -> tuple[Task, ...]:
        items = self._fields.items("tasks")
        if not items:
            raise self._fields.missing("tasks")
        if len(items) > MAX_NODES:
            raise self._source.refused("TOO_LARGE", f"more than {MAX_NODES} tasks", items[0].start)
        tasks = [self._task(number, item) for number, item in enumerate(items)]
        if all(name == other for name, other in self._names.items()):
            return tuple(tasks)
        return tuple(self._renamed(task) for task in tasks)

    def _task(self, number: int, json: Json) -> Task:
        fields = Fields(self._source, json, "a task")
        at = fields.at("name") if fields.has("name") else json.start
        name = fields.text("name") or f"task-{number}"
        if not is_allowed(name):
            message = (
                "a task's name must start with a letter or digit and hold only letters, digits, "
                "'.', '_', '+' and '-', 256 at most"
            )
            raise self._source.refused("BAD_NAME", message, at, name[:100])
        if name in self._names:
            message = f"{name} names another task, too"
            raise self._source.refused("DUPLICATE_NAME", message, at, name)
        waits = fields.items("depends_on")
        if waits:
            self._waits.append((name, waits))
        recovery_at = fields.at("recovery") if fields.has("recovery") else json.start
        work = self._work(fields)
        task = read_object(Task, fields, name=name, work=work)
        fields.done()
        task, self._names[name] = with_own_name(task)
        self._check_recovery(task, recovery_at)
        return task

    def _work(self, fields: Fields) -> Work:
        given = [kind for kind in KINDS if fields.has(kind)]
        if not given:
            return read_object(ContainerWork, fields)
        if len(given) > 1:
            message = f"a task is of one kind, not {' and '.join(given)}"
            raise self._source.refused("CONFLICT", message, fields.at(given[1]), given[1])
        at = fields.at(given[0])
        json = fields.take(given[0])
        assert json is not None
        inner = Fields(self._source, json, given[0])
        work = read_object(KINDS[given[0]], inner)
        inner.done()
        if isinstance(work, WaitWork) and (work.seconds is None) == (not work.signal):
            message = "wait needs seconds or a signal, one of the two"
            raise self._source.refused("CONFLICT", message, at, "wait")
        if isinstance(work, SubWorkflowWork) and work.file not in self._bundle.files:
            message = f"{work.file} is not in the bundle; nothing can be submitted without it"
            self.findings.append(
                self._source.finding("MISSING_FILE", message, at, work.file, "error")
            )
        return work

    def _check_recovery(self, task: Task, at: int) -> None:
        recovery = task.recovery
        if (recovery.then in ("fallback", "compensate")) != bool(recovery.task):
            message = "task goes with then: fallback or compensate, and they with it"
            raise self._source.refused("CONFLICT", message, at, "recovery")
        if recovery.task:
            self._helpers.append((recovery.task, at))

    def _check_helpers(self) -> None:
        for name, at in self._helpers:
            if name not in self._names:
                raise self._source.refused("UNKNOWN_NAME", f"there is no task {name[:100]}", at)

    def _renamed(self, task: Task) -> Task:
        name = self._names[task.name]
        recovery = task.recovery
        if recovery.task in self._names:
            recovery = replace(recovery, task=self._names[recovery.task])
        work = task.work
        if isinstance(work, BatchWork):
            inputs = tuple(renamed_input(file, self._names) for file in work.inputs)
            work = replace(work, inputs=inputs)
        return replace(task, name=name, recovery=recovery, work=work)

    def _dependencies(self) -> tuple[Dependency, ...]:
        # Tasks that wait for the same ones are one dependency, so that of m on n is one join.
        children: dict[tuple[str, ...], list[str]] = {}
        places: dict[tuple[str, ...], int] = {}
        n_edges = 0
        for name, waits in self._waits:
            parents = self._parents(waits)
            n_edges += len(parents)
            if n_edges > MAX_NODES:
                message = f"more than {MAX_NODES} edges"
                raise self._source.refused("TOO_LARGE", message, waits[0].start)
            children.setdefault(parents, []).append(self._names[name])
            places[parents] = waits[0].start
        dependencies = tuple(Dependency(key, tuple(names)) for key, names in children.items())
        cycle = find_cycle(dependencies)
        if cycle is not None:
            names, number = cycle
            shown = " -> ".join(names[:6]) + (" -> …" if len(names) > 6 else "")
            at = places[dependencies[number].parents]
            raise self._source.refused("CYCLE", f"a cycle: {shown}", at, "depends_on")
        return dependencies

    def _parents(self, waits: Sequence[Json]) -> tuple[str, ...]:
        parents: dict[str, None] = {}
        for json in waits:
            name = text_of(self._source, json, "depends_on")
            if name not in self._names:
                message = f"there is no task {name[:100]}"
                raise self._source.refused("UNKNOWN_NAME", message, json.start, "depends_on")
            parents[self._names[name]] = None
        return tuple(parents)

    def _net(self, dependencies: Sequence[Dependency]) -> Net | None:
        if not self._fields.has("net"):
            return None
        at = self._fields.at("net")
        json = self._fields.take("net")
        assert json is not None
        if dependencies:
            message = "a net orders the tasks itself: no task may have depends_on beside it"
            raise self._source.refused("CONFLICT", message, at, "net")
        return read_net(self._source, json, self._names)

    def _public_aliases(self) -> tuple[str, ...]:
        json = self._fields.take("public_queue_aliases")
        return names_of(self._source, json, "public_queue_aliases") if json else ()

    def _labels(self) -> dict[str, str]:
        json = self._fields.take("labels")
        return text_map_of(self._source, json, "labels") if json else {}

    def _category_limits(self) -> dict[str, int]:
        json = self._fields.take("category_limits")
        if json is None:
            return {}
        return {
            name: integer_of(self._source, member.value, f"category_limits.{name}", (0, 2**31 - 1))
            for name, member in mapping_of(self._source, json, "category_limits").items()
        }

    def _annotations(self) -> dict[str, object]:
        json = self._fields.take("annotations")
        annotations: dict[str, object] = {}
        if json is not None:
            members = mapping_of(self._source, json, "annotations")
            annotations = {name: plain(member.value) for name, member in members.items()}
        own: dict[str, object] = {}
        request_id = self._fields.text("request_id")
        if request_id:
            own["request_id"] = request_id
        validate_only = self._fields.take("validate_only")
        if validate_only and bool_of(self._source, validate_only, "validate_only"):
            own["validate_only"] = True
        reserve = self._fields.take("reserve")
        if reserve is not None:
            own["reserve"] = self._reserve(reserve)
        if own:
            before = annotations.get("ewms")
            annotations["ewms"] = {**(before if isinstance(before, dict) else {}), **own}
        return annotations

    def _reserve(self, json: Json) -> dict[str, object]:
        fields = Fields(self._source, json, "reserve")
        reserve = read_object(Reserve, fields)
        fields.done()
        return {
            "cluster_location": reserve.cluster_location,
            "n_workers": reserve.n_workers,
            "time_to_live": reserve.time_to_live,
        }
