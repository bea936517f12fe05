"""Names of tasks as the contract allows them, and back.

A name that the contract does not allow is written as another one, and kept beside it, in the
task's annotations (`ewms.name`). Inputs that are outputs of another task, `task:<name>/<file>`,
follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from wms_grpc.domain.tasks import Task

__all__ = ["contract_names", "is_allowed", "renamed_input", "with_own_name"]

_ALLOWED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,255}", re.ASCII)
_LONGEST: Final = 4_096
"""Of a name with a slash in it, that an input may begin with."""
_NOT_ALLOWED: Final = re.compile(r"[^A-Za-z0-9._+-]+", re.ASCII)


def is_allowed(name: str) -> bool:
    """Whether the contract takes the name."""
    return _ALLOWED.fullmatch(name) is not None


def contract_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name that the contract takes for each, the same where it can be."""
    all_names = list(names)
    given = {name: name for name in all_names if is_allowed(name)}
    taken = set(given)
    last: dict[str, int] = {}
    for name in all_names:
        if name in given:
            continue
        stem = _NOT_ALLOWED.sub("_", name[:200]).lstrip("._+-") or "task"
        candidate, number = stem, last.get(stem, 1)
        while candidate in taken:
            number += 1
            candidate = f"{stem}-{number}"
        last[stem] = number
        given[name] = candidate
        taken.add(candidate)
    return given


def renamed_input(file: str, names: Mapping[str, str]) -> str:
    """Return an input with the name of the task that it comes from replaced, if there is one."""
    if not file.startswith("task:"):
        return file
    at = file.find("/")
    while 0 <= at < _LONGEST:
        name = names.get(file[len("task:") : at])
        if name is not None:
            return f"task:{name}{file[at:]}"
        at = file.find("/", at + 1)
    return file


def with_own_name(task: Task) -> tuple[Task, str]:
    """Return the task without the annotation of the name that it had elsewhere, and that name."""
    own = task.annotations.get("ewms")
    name = own.get("name") if isinstance(own, dict) else None
    if not isinstance(own, dict) or not isinstance(name, str):
        return task, task.name
    rest = {key: value for key, value in own.items() if key != "name"}
    annotations = {key: value for key, value in task.annotations.items() if key != "ewms"}
    if rest:
        annotations["ewms"] = rest
    return replace(task, annotations=annotations), name
