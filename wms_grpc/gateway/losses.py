"""What a workflow says and a language that only knows nets cannot: a finding for each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import MISSING, fields

from wms_grpc.domain.tasks import Task
from wms_grpc.gateway.model import Finding, Workflow

__all__ = ["changed_fields", "no_counterpart", "task_losses", "work_losses", "workflow_losses"]


def changed_fields(value: object, apart_from: Collection[str] = ()) -> list[str]:
    """Return the names of a dataclass's fields that are not as they are by default."""
    changed = []
    for entry in fields(value):  # type: ignore[arg-type]
        default = entry.default
        if default is MISSING and entry.default_factory is not MISSING:
            default = entry.default_factory()
        if entry.name not in apart_from and getattr(value, entry.name) != default:
            changed.append(entry.name)
    return changed


def no_counterpart(language: str, what: str, names: Collection[str], subject: str) -> Finding:
    """Return the finding that these fields of something are not written."""
    message = f"{what}: {language} has no counterpart for {', '.join(names)}"
    return Finding("NO_COUNTERPART", message, subject=subject)


def task_losses(
    language: str, task: Task, apart_from: Collection[str] = ("name",)
) -> Iterator[Finding]:
    """Yield a finding if the task says more than the fields that are written."""
    if changed := changed_fields(task, ("name", *apart_from)):
        yield no_counterpart(language, f"the task `{task.name}`", changed, task.name)


def workflow_losses(language: str, workflow: Workflow) -> Iterator[Finding]:
    """Yield findings for what the workflow says beside its net, its tasks and its annotations."""
    written = ("name", "tasks", "dependencies", "given_net", "annotations")
    changed = changed_fields(workflow, written)
    others = sorted(set(workflow.annotations) - {language})
    if others:
        changed.append(f"the annotations of {' and '.join(others)}")
    if changed:
        yield no_counterpart(language, "the workflow", changed, workflow.name)


def work_losses(language: str, workflow: Workflow) -> Iterator[Finding]:
    """Yield a finding for each task: the language orders them and does not say what they do."""
    for task in workflow.tasks:
        lost = ["what it does"] if task.role == "node" else [f"its being {task.role}"]
        yield no_counterpart(language, f"the task `{task.name}`", lost, task.name)
