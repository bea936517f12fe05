"""What a WfFormat file says, in whichever of its layouts."""

from __future__ import annotations

from dataclasses import dataclass, field

from wms_grpc.gateway.positioned_json import JsonValue

__all__ = ["Entry", "Files", "Instance", "Reference"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A name of a task or file, and where it stands."""

    name: str
    offset: int


@dataclass(slots=True)
class Entry:
    """A task. `measured` is what an execution said of it, `rest` what else the file says."""

    id: str
    label: str
    offset: int
    parents: list[Reference]
    children: list[Reference]
    inputs: list[Reference]
    outputs: list[Reference]
    measured: dict[str, JsonValue] = field(default_factory=dict)
    rest: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(slots=True)
class Files:
    """The sizes of files in bytes, and what else is said of them, by their ids."""

    sizes: dict[str, int] = field(default_factory=dict)
    rest: dict[str, dict[str, object]] = field(default_factory=dict)


@dataclass(slots=True)
class Instance:
    """A file; `rest` is what it says beside tasks and files."""

    version: str
    name: str
    entries: list[Entry]
    files: Files
    rest: dict[str, object]
