"""Operations of GWorkflowDL, written: from their annotations, or from what a task does."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from lxml import etree

from wms_grpc.domain.tasks import BatchWork, NoopWork, SubWorkflowWork, Task
from wms_grpc.gateway.losses import changed_fields, no_counterpart, task_losses
from wms_grpc.gateway.model import Finding
from wms_grpc.gateway.xml_text import safe_text
from wms_grpc.gateway.xpath import OPERATION_CLASS

__all__ = ["operation_of_task", "written_operation"]

_TEXTS = ("type", "operationName", "resourceName", "quality")


def operation_of_task(task: Task) -> tuple[Mapping[str, object] | None, list[Finding]]:
    """Return an operation, as its annotation, for a task of another language, and what it loses."""
    findings = list(task_losses("gworkflowdl", task, ("work", "role")))
    work = task.work
    if isinstance(work, NoopWork):
        return None, findings
    if isinstance(work, BatchWork) and work.executable:
        findings.extend(_losses(task, work, ("executable",)))
        candidate = _candidate("cli", posixpath.basename(work.executable), work.executable)
        return {"class": task.name, "candidates": [candidate]}, findings
    if isinstance(work, SubWorkflowWork):
        findings.extend(_losses(task, work, ("language", "file")))
        candidate = _candidate("workflow", work.file, "")
        return {"class": task.name, "candidates": [candidate]}, findings
    kind = type(work).__name__.removesuffix("Work").lower()
    findings.append(no_counterpart("gworkflowdl", f"the task `{task.name}`", [kind], task.name))
    return {"class": task.name, "candidates": []}, findings


def _losses(task: Task, work: object, written: Sequence[str]) -> Iterator[Finding]:
    if changed := changed_fields(work, written):
        yield no_counterpart("gworkflowdl", f"the task `{task.name}`", changed, task.name)


def _candidate(kind: str, operation: str, resource: str) -> Mapping[str, object]:
    named = {"type": kind, "operationName": operation, "resourceName": resource}
    return {**named, "quality": "", "selected": True, "owl": []}


def written_operation(
    parent: etree._Element, said: Mapping[str, object]
) -> tuple[list[etree._Element], bool]:
    """Write the class of an operation, or return what stands there instead, as it is.

    And whether all is said: the schema has one element in an operation.
    """
    texts = [str(text) for text in _list(said.get("xml"))]
    if "candidates" not in said:
        found = [_parsed(text) for text in texts[:1]]
        return [element for element in found if element is not None], len(texts) < 2
    element = etree.SubElement(parent, f"{{{OPERATION_CLASS}}}operationClass")
    if isinstance(name := said.get("class"), str):
        element.set("name", safe_text(name))
    _owl(element, said.get("owl"))
    for candidate in _list(said["candidates"]):
        if isinstance(candidate, Mapping):
            _write_candidate(element, candidate)
    return [], not texts


def _parsed(text: str) -> etree._Element | None:
    try:
        return etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.LxmlError, ValueError):
        return None


def _write_candidate(parent: etree._Element, said: Mapping[str, object]) -> None:
    element = etree.SubElement(parent, f"{{{OPERATION_CLASS}}}operationCandidate")
    for name in _TEXTS:
        if said.get(name):
            element.set(name, safe_text(str(said[name])))
    if said.get("selected"):
        element.set("selected", "true")
    _owl(element, said.get("owl"))


def _owl(parent: etree._Element, uris: object) -> None:
    for uri in _list(uris):
        etree.SubElement(parent, f"{{{OPERATION_CLASS}}}owl").text = safe_text(str(uri))


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()
