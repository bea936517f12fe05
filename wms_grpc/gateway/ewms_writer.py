"""EWMS's own request, `SubmitWorkflowRequest` as JSON, written. It says all that the model says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from wms_grpc.domain.tasks import BatchWork, ContainerWork, Task
from wms_grpc.gateway.ewms_fields import object_of
from wms_grpc.gateway.ewms_names import contract_names, renamed_input
from wms_grpc.gateway.ewms_net import net_object
from wms_grpc.gateway.ewms_reader import KINDS
from wms_grpc.gateway.model import MAX_NODES, Bundle, Finding, Position, Refused, Workflow, Written

__all__ = ["request_object", "write_ewms"]

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}", re.ASCII)
_OF_THE_REQUEST: Final = ("request_id", "validate_only", "reserve")
_KIND_NAMES: Final = {kind: name for name, kind in KINDS.items()}


def write_ewms(workflow: Workflow) -> Written:
    """Write. Raises Refused for what no JSON can hold."""
    try:
        text = json.dumps(request_object(workflow), indent=2, ensure_ascii=False, allow_nan=False)
        data = (text + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused("BAD_VALUE", f"a value that no JSON can hold: {error}", workflow) from None
    name = workflow.name if _FILE_NAME.fullmatch(workflow.name) else "workflow"
    main = f"{name}.json"
    return Written(Bundle({main: data}, main))


def request_object(workflow: Workflow) -> dict[str, object]:
    """Return the request as a JSON object."""
    if not workflow.tasks:
        raise _refused("MISSING_FIELD", "a request needs a task at least", workflow)
    names = contract_names(task.name for task in workflow.tasks)
    waits = _waits(workflow)
    own = workflow.annotations.get("ewms")
    own = own if isinstance(own, Mapping) else {}
    annotations = {key: said for key, said in workflow.annotations.items() if key != "ewms"}
    rest = {key: said for key, said in own.items() if key not in _OF_THE_REQUEST}
    if rest or (not own and "ewms" in workflow.annotations):
        annotations["ewms"] = rest or workflow.annotations["ewms"]
    net = workflow.given_net
    request: dict[str, object] = {
        "name": workflow.name,
        "public_queue_aliases": list(workflow.public_aliases),
        "priority": workflow.priority,
        "labels": dict(workflow.labels),
        "max_running": workflow.max_running,
        "max_idle": workflow.max_idle,
        "category_limits": dict(workflow.category_limits),
        **{name: own[name] for name in _OF_THE_REQUEST if name in own},
        "tasks": [_task(task, names, waits.get(task.name, {})) for task in workflow.tasks],
        "net": net_object(net, names) if net is not None else None,
        "annotations": annotations,
    }
    return {key: said for key, said in request.items() if said not in ("", None, [], {})}


def _waits(workflow: Workflow) -> dict[str, dict[str, None]]:
    waits: dict[str, dict[str, None]] = {}
    n_edges = 0
    for dependency in workflow.dependencies:
        n_edges += len(dependency.parents) * len(dependency.children)
        if n_edges > MAX_NODES:
            message = f"more than {MAX_NODES} edges, where each task names all that it waits for"
            raise _refused("TOO_LARGE", message, workflow)
        for child in dependency.children:
            waits.setdefault(child, {}).update(dict.fromkeys(dependency.parents))
    return waits


def _task(task: Task, names: Mapping[str, str], waits: Mapping[str, None]) -> dict[str, object]:
    name = names[task.name]
    work = task.work
    if isinstance(work, BatchWork):
        work = replace(work, inputs=tuple(renamed_input(file, names) for file in work.inputs))
    written: dict[str, object] = {"name": name}
    if isinstance(work, ContainerWork):
        written |= object_of(work)
    else:
        written[_KIND_NAMES[type(work)]] = object_of(work)
    if waits:
        written["depends_on"] = [names[parent] for parent in waits]
    helper = task.recovery.task
    recovery = replace(task.recovery, task=names.get(helper, helper))
    annotations = dict(task.annotations)
    if name != task.name:
        own = annotations.get("ewms")
        annotations["ewms"] = {**(own if isinstance(own, Mapping) else {}), "name": task.name}
    return written | object_of(replace(task, recovery=recovery, annotations=annotations))


def _refused(code: str, message: str, workflow: Workflow) -> Refused:
    return Refused(Finding(code, message, Position(), workflow.name, "error"))
