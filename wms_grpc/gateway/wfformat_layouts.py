"""The two layouts of WfFormat, read into one: what tasks there are, and what was measured of them.

Version 1.5 (schema of github.com/wfcommons/WfFormat) splits `workflow.specification`, with tasks
and files by id, from `workflow.execution`. Version 1.4 has all in `workflow.tasks`, each with its
`files`, and its references are by name; how the one becomes the other is after the format's own
tool for migration. 1.6 adds to 1.5 what is optional.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wms_grpc.gateway.model import MAX_NODES, Refused
from wms_grpc.gateway.positioned_json import JsonValue, Lines
from wms_grpc.gateway.report import Report
from wms_grpc.gateway.wfformat_parts import Entry, Files, Instance, Reference

__all__ = ["read_instance"]

_LARGEST_SIZE = 1 << 62
_MEASURED_IN_TASK = (
    "runtimeInSeconds",
    "command",
    "cores",
    "coreCount",
    "avgCPU",
    "readBytes",
    "writtenBytes",
    "memoryInBytes",
    "energy",
    "energyInKWh",
    "avgPower",
    "avgPowerInW",
    "priority",
    "machine",
    "machines",
)


def read_instance(root: JsonValue, lines: Lines, report: Report) -> Instance:
    """Return what a file says. Raises Refused."""
    return _Reading(lines, report).instance(root)


class _Reading:
    def __init__(self, lines: Lines, report: Report) -> None:
        self._lines = lines
        self._report = report
        self._n_references = 0

    def instance(self, root: JsonValue) -> Instance:
        top = self._object(root, "the file")
        version = self._text(top, "schemaVersion", root)
        if version not in ("1.4", "1.5", "1.6"):
            raise self._refuse(
                "UNSUPPORTED_VERSION",
                f"this is WfFormat {version[:40]!r}; 1.4, 1.5 and 1.6 are read, "
                "and the format has a tool that brings older files to them",
                top["schemaVersion"],
            )
        workflow = self._object(self._there(top, "workflow", root), "`workflow`")
        if "specification" in workflow:
            instance = self._split_layout(version, workflow)
        elif "tasks" in workflow:
            instance = self._joint_layout(version, workflow)
        else:
            raise self._refuse(
                "MISSING_FIELD", "there is neither `specification` nor `tasks`", top["workflow"]
            )
        if version == "1.6":
            self._report.tell(
                "NEWER_VERSION",
                "version 1.6 is read as 1.5; what it adds is kept as annotations",
                self._lines.at(top["schemaVersion"].offset),
                severity="info",
            )
        if "name" in top:
            instance.name = self._text(top, "name", root)
        rest = {k: v.plain() for k, v in top.items() if k not in ("name", "workflow")}
        instance.rest = {**rest, **instance.rest}
        return instance

    def _split_layout(self, version: str, workflow: dict[str, JsonValue]) -> Instance:
        where = workflow["specification"]
        specification = self._object(where, "`specification`")
        entries = [self._split_entry(task) for task in self._tasks(specification, where)]
        files = Files()
        for file in self._list(specification, "files"):
            said = self._object(file, "a file")
            self._describe(files, self._text(said, "id", file), said)
        rest: dict[str, object] = {
            k: v.plain() for k, v in workflow.items() if k not in ("specification", "execution")
        }
        more = {k: v.plain() for k, v in specification.items() if k not in ("tasks", "files")}
        if more:
            rest["specification"] = more
        if "execution" in workflow:
            rest["execution"] = self._executions(workflow["execution"], entries)
        return Instance(version, "", entries, files, {"workflow": rest})

    def _split_entry(self, task: JsonValue) -> Entry:
        said = self._object(task, "a task")
        label = self._text(said, "name", task) if "name" in said else ""
        known = ("id", "name", "parents", "children", "inputFiles", "outputFiles")
        # Some writers measure in the specification.
        measured = {key: said[key] for key in said if key in _MEASURED_IN_TASK}
        return Entry(
            id=self._text(said, "id", task),
            label=label,
            offset=task.offset,
            parents=self._references(said, "parents"),
            children=self._references(said, "children"),
            inputs=self._references(said, "inputFiles"),
            outputs=self._references(said, "outputFiles"),
            measured=measured,
            rest={k: v for k, v in said.items() if k not in known and k not in measured},
        )

    def _executions(self, where: JsonValue, entries: Sequence[Entry]) -> dict[str, object]:
        execution = self._object(where, "`execution`")
        by_id = {entry.id: entry for entry in entries}
        executed: set[str] = set()
        strays: list[object] = []
        for task in self._list(execution, "tasks"):
            said = self._object(task, "a task")
            name = self._text(said, "id", task)
            entry = by_id.get(name)
            if entry is None or name in executed:
                words = "no task has this id" if entry is None else "it is here a second time"
                self._report.tell(
                    "UNKNOWN_EXECUTION",
                    f"the execution of {name[:100]} is kept as an annotation only: {words}",
                    self._lines.at(task.offset),
                    name,
                )
                strays.append(task.plain())
                continue
            executed.add(name)
            entry.measured |= {key: value for key, value in said.items() if key != "id"}
        rest: dict[str, object] = {k: v.plain() for k, v in execution.items() if k != "tasks"}
        return {**rest, "tasks": strays} if strays else rest

    def _joint_layout(self, version: str, workflow: dict[str, JsonValue]) -> Instance:
        files = Files()
        entries = [
            self._joint_entry(task, files) for task in self._tasks(workflow, workflow["tasks"])
        ]
        rest = {key: value.plain() for key, value in workflow.items() if key != "tasks"}
        return Instance(version, "", entries, files, {"workflow": rest})

    def _joint_entry(self, task: JsonValue, files: Files) -> Entry:
        said = self._object(task, "a task")
        label = self._text(said, "name", task)
        known = ("id", "name", "parents", "children", "files", *_MEASURED_IN_TASK)
        entry = Entry(
            id=self._text(said, "id", task) if "id" in said else label,
            label=label,
            offset=task.offset,
            parents=self._references(said, "parents"),
            children=self._references(said, "children"),
            inputs=[],
            outputs=[],
            measured={key: said[key] for key in said if key in _MEASURED_IN_TASK},
            rest={key: value for key, value in said.items() if key not in known},
        )
        for file in self._list(said, "files"):
            self._joint_file(entry, file, files)
        return entry

    def _joint_file(self, entry: Entry, file: JsonValue, files: Files) -> None:
        said = self._object(file, "a file")
        name = self._text(said, "name", file)
        if "path" in said:
            path = self._text(said, "path", file)
            name = path + name if path.endswith("/") else f"{path}/{name}"
        link = self._text(said, "link", file).lower()
        if link not in ("input", "output"):
            raise self._refuse(
                "BAD_VALUE", f"a file is `input` or `output`, not {link[:40]!r}", said["link"]
            )
        self._describe(files, name, said)
        self._count(1, file)
        (entry.inputs if link == "input" else entry.outputs).append(Reference(name, file.offset))

    def _describe(self, files: Files, file: str, said: dict[str, JsonValue]) -> None:
        known = ("id", "name", "path", "link", "sizeInBytes")
        if more := {key: value.plain() for key, value in said.items() if key not in known}:
            files.rest.setdefault(file, {}).update(more)
        value = said.get("sizeInBytes")
        if value is None or value.value is None:
            return
        size = _number_of_bytes(value)
        if size is None:
            files.rest.setdefault(file, {})["sizeInBytes"] = value.plain()
            code, words = "BAD_VALUE", f"the size of {file[:100]} is no number of bytes"
        elif files.sizes.setdefault(file, size) != size:
            code = "DIFFERENT_SIZES"
            words = f"{file[:100]} has {size} bytes here; {files.sizes[file]} before are kept"
        else:
            return
        self._report.tell(code, words, self._lines.at(value.offset), file)

    def _tasks(self, parent: dict[str, JsonValue], where: JsonValue) -> Iterator[JsonValue]:
        tasks = self._there(parent, "tasks", where)
        values = self._list(parent, "tasks")
        if not values:
            raise self._refuse("NO_TASKS", "there is no task", tasks)
        if len(values) > MAX_NODES:
            raise self._refuse("TOO_LARGE", f"more than {MAX_NODES} tasks", tasks)
        yield from values

    def _references(self, said: dict[str, JsonValue], key: str) -> list[Reference]:
        values = self._list(said, key)
        if values:
            self._count(len(values), said[key])
        found = []
        for value in values:
            if not isinstance(value.value, str):
                raise self._refuse("WRONG_TYPE", f"`{key}` holds what is no name", value)
            found.append(Reference(value.value, value.offset))
        return found

    def _count(self, number: int, where: JsonValue) -> None:
        self._n_references += number
        if self._n_references > 2 * MAX_NODES:
            raise self._refuse("TOO_LARGE", f"more than {2 * MAX_NODES} references", where)

    def _there(self, said: dict[str, JsonValue], key: str, where: JsonValue) -> JsonValue:
        if key not in said:
            raise self._refuse("MISSING_FIELD", f"`{key}` is missing", where)
        return said[key]

    def _text(self, said: dict[str, JsonValue], key: str, where: JsonValue) -> str:
        value = self._there(said, key, where)
        if not isinstance(value.value, str) or not value.value:
            raise self._refuse("WRONG_TYPE", f"`{key}` is no text", value)
        return value.value

    def _object(self, value: JsonValue, what: str) -> dict[str, JsonValue]:
        if not isinstance(value.value, dict):
            raise self._refuse("WRONG_TYPE", f"{what} is no object", value)
        return value.value

    def _list(self, said: dict[str, JsonValue], key: str) -> list[JsonValue]:
        value = said.get(key)
        if value is None or value.value is None:
            return []
        if not isinstance(value.value, list):
            raise self._refuse("WRONG_TYPE", f"`{key}` is no list", value)
        return value.value

    def _refuse(self, code: str, message: str, where: JsonValue) -> Refused:
        return self._lines.refuse(code, message, where.offset)


def _number_of_bytes(value: JsonValue) -> int | None:
    size = value.value
    if isinstance(size, bool) or not isinstance(size, (int, float)):
        return None
    return int(size) if 0 <= size <= _LARGEST_SIZE else None
