"""A node's submit description, with its macros, into batch work.

Paths of the bundle are those of `BatchWork`: relative to where DAGMan was started. A key that is
nobody's macro and no field of ours is an attribute of the job.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wms_grpc.domain.tasks import BatchWork
from wms_grpc.gateway.dagman.lines import BLANKS
from wms_grpc.gateway.dagman.macros import Macros
from wms_grpc.gateway.dagman.quoting import read_arguments, read_environment
from wms_grpc.gateway.dagman.submit import Assignment, SubmitDescription
from wms_grpc.gateway.dagman.submit_commands import is_command
from wms_grpc.gateway.dagman.text import Findings
from wms_grpc.gateway.model import MAX_EXPRESSION, MAX_NODES

__all__ = ["MODEL_KEYS", "Job", "is_elsewhere", "is_false", "job_of", "placed"]

_ALIASES: Final[Mapping[str, str]] = {
    "args": "arguments",
    "env": "environment",
    "stdin": "input",
    "stdout": "output",
    "stderr": "error",
    "preferences": "rank",
    "requestcpus": "request_cpus",
    "requestmemory": "request_memory",
    "requestdisk": "request_disk",
    "initial_dir": "initialdir",
    "transferinputfiles": "transfer_input_files",
    "transferoutputfiles": "transfer_output_files",
}
MODEL_KEYS: Final = frozenset(
    {
        "executable",
        "arguments",
        "environment",
        "input",
        "output",
        "error",
        "transfer_input_files",
        "transfer_output_files",
        "request_cpus",
        "request_memory",
        "request_disk",
        "allowed_execute_duration",
        "requirements",
        "rank",
        "container_image",
        "docker_image",
        "initialdir",
    }
)
"""Keys that are fields of BatchWork, or of the task."""

_SIZE = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?\s*(?:([kmgt])b?)?", re.IGNORECASE)
_ELSEWHERE = re.compile(r"/|[A-Za-z][\w+.-]*://|\$|<|task:")
_UNIVERSES: Final = ("", "vanilla", "docker", "container", "5")


@dataclass(frozen=True, slots=True)
class Job:
    """Batch work; `queue` is what its queue statement says of items.

    `initialdir` is the folder, relative to where it is submitted, that the work's files are in;
    `unused` are macros from VARS that the description has no use for.
    """

    work: BatchWork
    initialdir: str = ""
    queue: str = ""
    unused: Mapping[str, Assignment] = field(default_factory=dict)


def is_elsewhere(path: str) -> bool:
    """Whether it is no path relative to a folder: absolute, a URL, or known at run time only."""
    return _ELSEWHERE.match(path) is not None


def placed(folder: str, path: str) -> str:
    """Return a path that is relative to the folder as one of the bundle."""
    if not path or is_elsewhere(path):
        return path
    if not folder and not path.startswith(".") and "/" not in path:
        return path
    return posixpath.normpath(posixpath.join(folder, path)) + "/" * path.endswith("/")


def is_false(said: str) -> bool:
    """Whether a submit description's boolean is false; an empty one is not."""
    return said.lower() in ("false", "no", "f", "n", "0")


def job_of(
    description: SubmitDescription,
    before: Iterable[Assignment],
    after: Iterable[Assignment],
    name: str,
    folder: str,
    findings: Findings,
) -> Job:
    """Return the job of a node; `folder` is the one it is submitted from."""
    macros = Macros({"job": name}, findings)
    macros.run(before, description, after)
    return _Jobs(macros, folder, findings).job()


class _Jobs:
    def __init__(self, macros: Macros, folder: str, findings: Findings) -> None:
        self._macros = macros
        self._findings = findings
        self._keys = _by_canonical_name(macros.keys)
        self._cwd = folder
        self._folder = placed(folder, self._said("initialdir")) or folder
        self._unread: list[str] = []

    def job(self) -> Job:
        n_procs, items = self._queued()
        n_cores = self._number("request_cpus")
        max_runtime = self._number("allowed_execute_duration")
        memory, disk = self._size("request_memory", "M"), self._size("request_disk", "K")
        work = BatchWork(
            executable=self._executable(),
            image=self._image(),
            arguments=self._arguments(),
            environment=self._environment(),
            stdin=placed(self._folder, self._said("input")),
            stdout=self._said("output"),
            stderr=self._said("error"),
            inputs=tuple(placed(self._folder, path) for path in self._list("transfer_input_files")),
            outputs=self._list("transfer_output_files"),
            n_procs=n_procs,
            n_cores=n_cores,
            memory=memory,
            disk=disk,
            max_runtime=max_runtime,
            requirements=self._expression("requirements"),
            rank=self._expression("rank"),
            attributes=self._attributes(),
        )
        return Job(work, self._said("initialdir"), items, self._unused())

    def _said(self, key: str) -> str:
        return self._macros.value(self._keys[key]) if key in self._keys else ""

    def _report(self, code: str, message: str, key: str, *, is_error: bool = False) -> None:
        position = self._macros.position(self._keys[key])
        self._findings.add(code, message, position, key, "error" if is_error else "warning")

    def _executable(self) -> str:
        said = self._said("executable")
        is_there = is_false(self._said("transfer_executable"))
        return said if is_there else placed(self._cwd, said)

    def _image(self) -> str:
        container, docker = self._said("container_image"), self._said("docker_image")
        if container and docker:
            self._unread.append("docker_image")
        if container or not docker or "://" in docker:
            return container or docker
        return f"docker://{docker}"

    def _arguments(self) -> tuple[str, ...]:
        try:
            return read_arguments(self._said("arguments"))
        except ValueError as error:
            self._report("SUBMIT_SYNTAX", f"the arguments have {error}", "arguments", is_error=True)
            return ()

    def _environment(self) -> dict[str, str]:
        try:
            return read_environment(self._said("environment"))
        except ValueError as error:
            message = f"the environment is not read: {error}"
            self._report("SUBMIT_SYNTAX", message, "environment", is_error=True)
            return {}

    def _list(self, key: str) -> tuple[str, ...]:
        said = self._said(key)
        if len(said) > 1 and said.startswith('"') and said.endswith('"'):
            said = said[1:-1]
        parts = (part.strip(BLANKS) for part in said.split(","))
        return tuple(part for part in parts if part)

    def _number(self, key: str) -> int | None:
        said = self._said(key)
        if said.isdecimal() and said.isascii() and len(said) < 12:
            return int(said)
        self._unread.append(key)
        return None

    def _size(self, key: str, unit: str) -> str:
        said = self._said(key)
        match = _SIZE.fullmatch(said)
        if match is None:
            self._unread.append(key)
            return ""
        size = f"{match[1]}{(match[3] or unit).upper()}"
        if match[2]:
            smaller = "BKMGT"["BKMGT".index(size[-1]) - 1]
            size = f"{round(float(f'{match[1]}.{match[2]}') * 1024)}{smaller}"
        return size

    def _expression(self, key: str) -> str:
        said = self._said(key)
        if len(said) > MAX_EXPRESSION:
            message = f"{key} has more than {MAX_EXPRESSION} characters"
            self._report("TOO_LARGE", message, key, is_error=True)
            return ""
        return said

    def _queued(self) -> tuple[int, str]:
        queue = self._macros.queue
        if queue is None:
            return 1, ""
        said = self._macros.expanded(queue.said, queue.position).strip(BLANKS)
        if not said:
            return 1, ""
        if said.isdecimal() and said.isascii() and len(said) < 8 and int(said) <= MAX_NODES:
            return int(said), ""
        message = f"`queue {said.splitlines()[0][:60]}` makes a job for each item: no counterpart"
        self._findings.add("QUEUE_ITEMS", message, queue.position, severity="error")
        count = re.match(r"\d{1,6}(?=\s)", said)
        return int(count[0]) if count else 1, said

    def _unused(self) -> Mapping[str, Assignment]:
        return {
            name: given
            for name, given in self._macros.given.items()
            if name not in self._macros.used
            and _ALIASES.get(name, name) not in MODEL_KEYS
            and not is_command(name)
        }

    def _attributes(self) -> dict[str, str]:
        for raw in self._keys.values():
            self._macros.value(raw)  # so that all that is used is known
        attributes: dict[str, str] = {}
        universe = self._said("universe").lower()
        for key, raw in self._keys.items():
            is_field = key in MODEL_KEYS and key not in self._unread
            is_free = key not in MODEL_KEYS and not is_command(key)
            is_macro = is_free and (raw in self._macros.used or raw in self._macros.given)
            if is_field or is_macro or (key == "universe" and universe in ("vanilla", "5")):
                continue
            if key in MODEL_KEYS and not self._said(key):
                continue
            if key in _ALIASES:
                message = f"{key} is not looked at, for {_ALIASES[key]} is there"
                self._report("OVERRIDDEN", message, key)
                continue
            attributes[_attribute_name(key, self._macros.name(raw))] = self._macros.value(raw)
        if universe not in _UNIVERSES:
            code = "NEEDS_ACCESS_POINT" if universe in ("local", "scheduler") else "NO_COUNTERPART"
            self._report(code, f"the universe {universe} is kept, and not known here", "universe")
        if (said := self._said("getenv")) and not is_false(said):
            message = "getenv takes variables of the submitter, which are not there"
            self._report("NEEDS_ACCESS_POINT", message, "getenv")
        return attributes


def _by_canonical_name(keys: Iterable[str]) -> dict[str, str]:
    """Return the keys by the name that counts; an alias does not where the name is there too."""
    keys = dict.fromkeys(keys)
    if _ALIASES.keys().isdisjoint(keys):
        return {key: key for key in keys}
    return {
        (_ALIASES[key] if key in _ALIASES and _ALIASES[key] not in keys else key): key
        for key in keys
    }


def _attribute_name(key: str, said: str) -> str:
    if key.startswith("my."):
        return "+" + (said[1:] if said.startswith("+") else said[3:])
    return key
