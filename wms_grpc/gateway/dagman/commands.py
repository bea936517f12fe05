"""The commands of a DAG file as values, one class each; what they mean is the matter of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wms_grpc.gateway.dagman.lines import Line
from wms_grpc.gateway.model import Position

__all__ = [
    "Abort",
    "Category",
    "Command",
    "Connect",
    "Description",
    "Done",
    "Edges",
    "Include",
    "MaxJobs",
    "Moment",
    "NodeDefinition",
    "NodeKind",
    "Pin",
    "Placement",
    "PreSkip",
    "Priority",
    "Reject",
    "Retry",
    "SavePoint",
    "ScriptCommand",
    "Setting",
    "Splice",
    "Tolerance",
    "Vars",
]

NodeKind = Literal["JOB", "FINAL", "SERVICE", "PROVISIONER", "SUBDAG"]
Moment = Literal["PRE", "POST", "HOLD"]
Placement = Literal["", "PREPEND", "APPEND"]


@dataclass(frozen=True, slots=True)
class NodeDefinition:
    """A node. `description` names a submit file, a description or a DAG file; `inline` is one."""

    kind: NodeKind
    name: str
    description: str
    position: Position
    inline: tuple[Line, ...] | None = None
    folder: str = ""
    is_noop: bool = False
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class Splice:
    """Another DAG file, whose nodes become part of this one."""

    name: str
    file: str
    folder: str
    position: Position


@dataclass(frozen=True, slots=True)
class Include:
    """Another DAG file, as if its lines stood here."""

    file: str
    position: Position


@dataclass(frozen=True, slots=True)
class Description:
    """A submit description that nodes name."""

    name: str
    lines: tuple[Line, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Edges:
    """Each child waits for all parents; `is_weak`: for their end, whatever it is."""

    parents: tuple[str, ...]
    children: tuple[str, ...]
    is_weak: bool
    position: Position


@dataclass(frozen=True, slots=True)
class ScriptCommand:
    """A script of a node: words, and what DEFER and DEBUG say."""

    node: str
    moment: Moment
    words: tuple[str, ...]
    defer: tuple[int, int] | None
    debug: tuple[str, str] | None
    position: Position


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a node is tried again, unless it exits with that code."""

    node: str
    n_retries: int
    unless_exit: int | None
    position: Position


@dataclass(frozen=True, slots=True)
class Abort:
    """The exit code of a node that stops the DAG, and the DAG's own then."""

    node: str
    exit_code: int
    returned: int | None
    position: Position


@dataclass(frozen=True, slots=True)
class Vars:
    """Macros for a node's submit description, before or after it."""

    node: str
    pairs: tuple[tuple[str, str], ...]
    placement: Placement
    position: Position


@dataclass(frozen=True, slots=True)
class Priority:
    """A node's priority."""

    node: str
    priority: int
    position: Position


@dataclass(frozen=True, slots=True)
class PreSkip:
    """The exit code of a node's PRE script by which the node is done."""

    node: str
    exit_code: int
    position: Position


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many of a node's procs may fail, or which share in percent; `mode` FAIL-FAST or WAIT."""

    node: str
    value: int
    is_percent: bool
    mode: str
    position: Position


@dataclass(frozen=True, slots=True)
class Category:
    """A node's category."""

    node: str
    category: str
    position: Position


@dataclass(frozen=True, slots=True)
class MaxJobs:
    """How many nodes of a category may run at a time."""

    category: str
    limit: int
    position: Position


@dataclass(frozen=True, slots=True)
class Done:
    """The node succeeded before."""

    node: str
    position: Position


@dataclass(frozen=True, slots=True)
class SavePoint:
    """A file that DAGMan writes when the node starts; no name: one of DAGMan's."""

    node: str
    file: str
    position: Position


@dataclass(frozen=True, slots=True)
class Pin:
    """A node at one of its splice's numbered ends."""

    node: str
    number: int
    is_out: bool
    position: Position


@dataclass(frozen=True, slots=True)
class Connect:
    """Joins the outer pins of a splice with the inner ones of another."""

    source: str
    target: str
    position: Position


@dataclass(frozen=True, slots=True)
class Setting:
    """A command about the DAG itself, by its keyword, with its words."""

    keyword: str
    words: tuple[str, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Reject:
    """The file is not to be run."""

    position: Position


Command = (
    NodeDefinition
    | Splice
    | Include
    | Description
    | Edges
    | ScriptCommand
    | Retry
    | Abort
    | Vars
    | Priority
    | PreSkip
    | Tolerance
    | Category
    | MaxJobs
    | Done
    | SavePoint
    | Pin
    | Connect
    | Setting
    | Reject
)
