"""Ids of workflows, task directives, taskforces and queues.

Ids sort by time and carry their parents: `WF-<hex seconds>-<8 hex>`, `TK-<workflow part>-<the
task's number in hex>`, `TF-<task part>-<number in hex>`. Tasks and taskforces are counted and not
random, since 100,000 random 32-bit parts would collide. A queue's id is 128 random bits in hex: on
RabbitMQ a name that cannot be guessed is what keeps a queue private.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from typing import NewType

__all__ = [
    "Mqid",
    "TaskId",
    "TaskforceId",
    "WorkflowId",
    "new_mqid",
    "new_workflow_id",
    "number_of_task",
    "task_id_of",
    "taskforce_id",
    "workflow_of_task",
    "workflow_of_taskforce",
]

WorkflowId = NewType("WorkflowId", str)
TaskId = NewType("TaskId", str)
TaskforceId = NewType("TaskforceId", str)
Mqid = NewType("Mqid", str)

_TASK = re.compile(r"TK-([0-9a-f]+-[0-9a-f]{8})-[0-9a-f]+")
_TASKFORCE = re.compile(r"TF-([0-9a-f]+-[0-9a-f]{8})-[0-9a-f]+-[0-9a-f]+")


def new_workflow_id(now: datetime) -> WorkflowId:
    """Return a fresh id that sorts after those of earlier seconds."""
    return WorkflowId(f"WF-{int(now.timestamp()):x}-{secrets.token_hex(4)}")


def task_id_of(workflow_id: WorkflowId, number: int) -> TaskId:
    """Return the id of a workflow's task, counted from 0 in the order of the submission."""
    return TaskId(f"TK-{workflow_id.removeprefix('WF-')}-{number:x}")


def taskforce_id(task_id: TaskId, number: int) -> TaskforceId:
    """Return the id of a task's taskforce, counted from 0 in the order of creation."""
    return TaskforceId(f"TF-{task_id.removeprefix('TK-')}-{number:x}")


def number_of_task(task_id: TaskId) -> int:
    """Return the task's number in its workflow."""
    return int(task_id.rpartition("-")[2], 16)


def workflow_of_task(task_id: str) -> WorkflowId | None:
    """Return the workflow that the id belongs to, None for what is no task's id."""
    match = _TASK.fullmatch(task_id)
    return WorkflowId(f"WF-{match[1]}") if match else None


def workflow_of_taskforce(uuid: str) -> WorkflowId | None:
    """Return the workflow that the id belongs to, None for what is no taskforce's id."""
    match = _TASKFORCE.fullmatch(uuid)
    return WorkflowId(f"WF-{match[1]}") if match else None


def new_mqid() -> Mqid:
    """Return a fresh queue id that nobody can guess."""
    return Mqid(secrets.token_hex(16))
