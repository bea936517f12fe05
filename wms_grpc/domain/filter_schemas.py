"""Which fields of which resource a filter may ask for, and what they hold.

The contract's comments on the `filter` fields list the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from wms_grpc.domain.model import Phase, WorkflowState

__all__ = [
    "TASKFORCES",
    "TASK_DIRECTIVES",
    "WATCHED_TASKFORCES",
    "WORKFLOWS",
    "Field",
    "FilterSchema",
    "Kind",
]


class Kind(Enum):
    """What a field holds."""

    STRING = "a string"
    INT = "an integer"
    BOOL = "true or false"
    ENUM = "one of its names"
    TIMESTAMP = "a time such as 2026-11-23T12:00:00Z"
    STRING_MAP = "a map of strings"


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a filter may ask for; `names` are an enum's short names."""

    kind: Kind
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FilterSchema:
    """The fields of one kind of resource, which `resource` names in messages."""

    resource: str
    fields: Mapping[str, Field]


_STRING = Field(Kind.STRING)
_INT = Field(Kind.INT)
_TIMESTAMP = Field(Kind.TIMESTAMP)

WORKFLOWS: Final = FilterSchema(
    "workflow",
    {
        "workflow_id": _STRING,
        "owner": _STRING,
        "name": _STRING,
        "state": Field(Kind.ENUM, tuple(WorkflowState)),
        "priority": _INT,
        "create_time": _TIMESTAMP,
        "end_time": _TIMESTAMP,
        "labels": Field(Kind.STRING_MAP),
    },
)
TASK_DIRECTIVES: Final = FilterSchema(
    "task directive",
    {
        "task_id": _STRING,
        "workflow_id": _STRING,
        "name": _STRING,
        "task_image": _STRING,
        "n_workers": _INT,
        "is_done": Field(Kind.BOOL),
        "create_time": _TIMESTAMP,
    },
)
# What of a taskforce is also in its TaskforceStatus, and so known at each of its changes.
WATCHED_TASKFORCES: Final = FilterSchema(
    "taskforce",
    {
        "taskforce_uuid": _STRING,
        "task_id": _STRING,
        "workflow_id": _STRING,
        "phase": Field(Kind.ENUM, tuple(Phase)),
        "priority": _INT,
        "cluster_location": _STRING,
        "schedd": _STRING,
    },
)
TASKFORCES: Final = FilterSchema(
    "taskforce",
    {
        **WATCHED_TASKFORCES.fields,
        "n_workers": _INT,
        "cluster_id": _INT,
        "create_time": _TIMESTAMP,
    },
)
