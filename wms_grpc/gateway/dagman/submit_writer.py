"""Batch work into a submit description; what has no word there is a finding."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Final

from wms_grpc.gateway.dagman.jobs import Job, is_elsewhere, is_false, placed
from wms_grpc.gateway.dagman.lines import BLANKS
from wms_grpc.gateway.dagman.live_macros import LIVE, item_names
from wms_grpc.gateway.dagman.quoting import written_arguments, written_environment
from wms_grpc.gateway.dagman.text import Findings
from wms_grpc.gateway.model import FindingSeverity, Position

__all__ = ["description_lines", "unplaced"]

_KEY = re.compile(r"\+?[A-Za-z_][\w.]*")
_LITERAL_MACRO = re.compile(r"(?<!\$)\$\(([\w.]+)((?::[^()]*)?\))")
_OUTPUT_OF_TASK = re.compile(r"task:[^/]*/(.*)", re.DOTALL)
_BREAK: Final = re.compile(r"[\r\n\0]")


def unplaced(folder: str, path: str) -> str:
    """Return a path of the bundle relative to the folder; undoes `placed`."""
    if not folder or not path or is_elsewhere(path):
        return path
    return posixpath.relpath(path, folder) + "/" * path.endswith("/")


def description_lines(task: str, job: Job, folder: str, findings: Findings) -> list[str]:
    """Return the lines of the description of a task's job, without its queue statement.

    `folder` is where it is submitted from.
    """
    return list(_Description(task, job, folder, findings).lines())


class _Description:
    def __init__(self, task: str, job: Job, folder: str, findings: Findings) -> None:
        self._work = job.work
        self._task = task
        self._cwd = folder
        self._initialdir = job.initialdir
        self._folder = placed(folder, job.initialdir) or folder
        self._live = {*LIVE, *item_names(job.queue)}
        self._findings = findings

    def lines(self) -> Iterable[str]:
        taken = set[str]()
        for key, value in self._fields():
            if value:
                taken.add(key)
                yield f"{key} = {self._value(key, value)}"
        for key, value in self._work.attributes.items():
            if not _KEY.fullmatch(key) or key.lower() in (*taken, "queue"):
                self._report(f"the attribute {key!r} has no place in a submit description")
            else:
                yield f"{key} = {self._value(key, value)}"
        if self._work.cluster_locations:
            self._report("the cluster locations are EWMS's own, and left out", "warning")

    def _fields(self) -> Iterable[tuple[str, str]]:
        work = self._work
        is_docker = work.attributes.get("universe", "").lower() == "docker"
        is_there = is_false(work.attributes.get("transfer_executable", ""))
        executable = work.executable if is_there else unplaced(self._cwd, work.executable)
        yield "executable", executable
        yield "initialdir", self._initialdir
        if is_docker:
            yield "docker_image", work.image.removeprefix("docker://")
        else:
            yield "container_image", work.image
        yield "arguments", written_arguments(work.arguments) if work.arguments else ""
        yield "environment", self._environment()
        yield "input", unplaced(self._folder, self._own(work.stdin))
        yield "output", work.stdout
        yield "error", work.stderr
        inputs = [unplaced(self._folder, self._own(path)) for path in work.inputs]
        yield "transfer_input_files", self._list(inputs)
        yield "transfer_output_files", self._list(work.outputs)
        yield "request_cpus", "" if work.n_cores is None else str(work.n_cores)
        yield "request_memory", work.memory
        yield "request_disk", work.disk
        yield "allowed_execute_duration", str(work.max_runtime or "")
        yield "requirements", work.requirements
        yield "rank", work.rank

    def _environment(self) -> str:
        wrong = [name for name in self._work.environment if not name or "=" in name]
        if wrong:
            self._report(f"the variables {wrong} have no name that a description can give")
        right = {name: v for name, v in self._work.environment.items() if name not in wrong}
        return written_environment(right) if right else ""

    def _own(self, path: str) -> str:
        """Return the name by which a node finds the output of another one: that of the file."""
        match = _OUTPUT_OF_TASK.fullmatch(path)
        if match is None:
            return path
        message = f"{path} is found by its name, where DAGMan's nodes leave their outputs"
        self._report(message, "info")
        return match[1]

    def _list(self, paths: Iterable[str]) -> str:
        paths = list(paths)
        for path in paths:
            if "," in path or path != path.strip(BLANKS) or not path:
                self._report(f"the file name {path!r} cannot stand in a list of files")
        return ", ".join(paths)

    def _value(self, key: str, value: str) -> str:
        if _BREAK.search(value):
            self._report(f"the value of {key} has line breaks, which became blanks")
            value = _BREAK.sub(" ", value)
        value = _LITERAL_MACRO.sub(self._escaped, value).strip(BLANKS)
        if value.endswith("\\"):
            self._report(f"the value of {key} ends with a backslash, which would continue the line")
            value = value.rstrip("\\ ")
        return value

    def _escaped(self, match: re.Match[str]) -> str:
        is_live = match[1].lower() in self._live
        return match[0] if is_live else f"$(DOLLAR)({match[1]}{match[2]}"

    def _report(self, message: str, severity: FindingSeverity = "error") -> None:
        self._findings.add("NO_COUNTERPART", message, Position(), self._task, severity)
