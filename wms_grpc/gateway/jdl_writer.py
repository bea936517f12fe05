"""gLite's job description language, written.

What is written is read back as an equal workflow, but for what a finding names. Refused is what
would run otherwise than it should: a net, tasks that are no jobs, tasks for the end or for a
failure of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wms_grpc.domain.nets import Dependency
from wms_grpc.domain.tasks import BatchWork, NoopWork, SubWorkflowWork, Task
from wms_grpc.gateway.jdl_quoting import quoted_name
from wms_grpc.gateway.jdl_words import INHERITED, is_about_glue
from wms_grpc.gateway.jdl_written import (
    Lines,
    Losses,
    Places,
    attributes_of,
    job_lines,
    quoted,
    refused,
)
from wms_grpc.gateway.model import Bundle, Workflow, Written

__all__ = ["write_jdl"]

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}", re.ASCII)
_OF_THE_WHOLE: Final = frozenset(
    {
        "defaultnoderetrycount",
        "dependencies",
        "jobname",
        "max_nodes_running",
        "max_running_nodes",
        "node_retry_count",
        "nodes",
        "retrycount",
        "type",
    }
)


def write_jdl(workflow: Workflow) -> Written:
    """Write. Raises Refused where the language cannot express the workflow."""
    _check(workflow)
    losses = Losses()
    _report_whole(workflow, losses)
    is_file_name = _FILE_NAME.fullmatch(workflow.name) and not workflow.name.lower().endswith(
        ".jdl"
    )
    main = f"{workflow.name}.jdl" if is_file_name else "workflow.jdl"
    head: Lines = [] if is_file_name else [("JobName", quoted(workflow.name, "name"))]
    attributes = attributes_of(workflow.annotations, "attributes", "workflow", losses)
    if _is_one_job(workflow, attributes):
        lines = [*head, *job_lines(workflow.tasks[0], Places({}, {}), losses)]
        text = "[\n" + _indented(lines, 1) + "]\n"
    else:
        text = "".join(_dag(workflow, [*head, *_kept(attributes, losses)], losses))
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise refused("BAD_CHARACTER", "a text that UTF-8 cannot hold", workflow.name) from None
    return Written(Bundle({main: data}, main), losses.findings)


def _check(workflow: Workflow) -> None:
    if workflow.given_net is not None:
        raise refused("NOT_A_DAG", "a Petri net has no form in this language", workflow.name)
    if not workflow.tasks:
        raise refused("NO_NODES", "a workflow without tasks has no form", workflow.name)
    for task in workflow.tasks:
        work = task.work
        if not task.name:
            raise refused("BAD_NAME", "a task without a name", "")
        if task.role != "node":
            raise refused("NO_COUNTERPART", f"a {task.role} task has no form", task.name)
        if task.recovery.then in ("fallback", "compensate"):
            message = f"a task for the failure of another ({task.recovery.then}) has no form"
            raise refused("NO_COUNTERPART", message, task.name)
        if isinstance(work, SubWorkflowWork) and (work.language, work.engine) == ("jdl", "ewms"):
            continue
        if not isinstance(work, BatchWork | NoopWork):
            kind = type(work).__name__.removesuffix("Work").lower()
            raise refused("NO_COUNTERPART", f"a task of kind {kind} has no form", task.name)


def _report_whole(workflow: Workflow, losses: Losses) -> None:
    for what in ("max_idle", "category_limits", "public_aliases", "priority", "labels"):
        if getattr(workflow, what) not in (None, (), {}):
            losses.add(what, "has no counterpart", workflow.name)
    losses.foreign(workflow.annotations, workflow.name)


def _is_one_job(workflow: Workflow, attributes: Mapping[str, str]) -> bool:
    if len(workflow.tasks) != 1 or workflow.dependencies or attributes:
        return False
    task = workflow.tasks[0]
    is_plain = workflow.max_running is None and not attributes_of(
        task.annotations, "node", task.name, Losses()
    )
    has_job = isinstance(task.work, BatchWork) and bool(task.work.executable)
    return is_plain and has_job and task.name == (workflow.name or "job")


def _kept(attributes: Mapping[str, str], losses: Losses) -> Iterator[tuple[str, str]]:
    for name, text in attributes.items():
        is_inherited = name.lower() in INHERITED and not is_about_glue(text)
        if name.lower() in _OF_THE_WHOLE or is_inherited:
            losses.add(name, "would mean something else here, and is left out", "workflow")
        else:
            yield name, text


def _dag(workflow: Workflow, head: Lines, losses: Losses) -> Iterator[str]:
    keys = _keys(workflow.tasks)
    tasks = {task.name: task for task in workflow.tasks}
    is_dag = workflow.dependencies or workflow.max_running is not None
    yield f'[\n  Type = "{"dag" if is_dag else "collection"}";\n'
    if workflow.max_running is not None:
        yield f"  max_running_nodes = {workflow.max_running};\n"
    yield _indented(head, 1)
    yield "  nodes = [\n"
    places = Places(tasks, keys)
    for task in workflow.tasks:
        yield from _node(task, keys[task.name], places, losses)
    yield "  ];\n"
    if is_dag:
        yield _dependencies(workflow.dependencies, keys)
    yield "]\n"


def _node(task: Task, key: str, places: Places, losses: Losses) -> Iterator[str]:
    yield f"    {quoted_name(key)} = [\n"
    if key != task.name:
        yield f"      NodeName = {quoted(task.name, task.name)};\n"
    at_node = attributes_of(task.annotations, "node", task.name, losses)
    own = {"nodename", "node_retry_count", "description", "file"}
    yield _indented([part for part in at_node.items() if part[0].lower() not in own], 3)
    file = _file_of(task)
    if file:
        yield f"      file = {quoted(file, task.name)};\n"
        if task.recovery.max_tries != 1:
            yield f"      node_retry_count = {task.recovery.max_tries - 1};\n"
        losses.add("file", f"{file} has to go along with what is written", task.name)
    else:
        yield "      description = [\n"
        yield _indented(job_lines(task, places, losses), 4)
        yield "      ];\n"
    yield "    ];\n"


def _file_of(task: Task) -> str:
    if isinstance(task.work, SubWorkflowWork):
        return task.work.file
    said = task.annotations.get("jdl")
    file = said.get("file") if isinstance(said, Mapping) else None
    is_missing = isinstance(task.work, BatchWork) and not task.work.executable
    return file if is_missing and isinstance(file, str) else ""


def _dependencies(dependencies: Sequence[Dependency], keys: Mapping[str, str]) -> str:
    def side(names: tuple[str, ...]) -> str:
        said = ", ".join(quoted_name(keys[name]) for name in names)
        return said if len(names) == 1 else f"{{ {said} }}"

    pairs = [
        f"    {{ {side(dependency.parents)}, {side(dependency.children)} }}"
        for dependency in dependencies
        if dependency.parents and dependency.children
    ]
    return "  dependencies = {\n" + ",\n".join(pairs) + "\n  };\n"


def _keys(tasks: Sequence[Task]) -> dict[str, str]:
    """Name the nodes: as the tasks, but where the language could not tell them apart."""
    taken = {"dependencies"}
    keys: dict[str, str] = {}
    for task in tasks:
        if len(task.name) <= 256 and "\0" not in task.name and task.name.lower() not in taken:
            keys[task.name] = task.name
            taken.add(task.name.lower())
    for number, task in enumerate(tasks):
        if task.name not in keys:
            key = f"node_{number}"
            while key in taken:
                key += "_"
            keys[task.name] = key
            taken.add(key)
    return keys


def _indented(lines: Sequence[tuple[str, str]], depth: int) -> str:
    return "".join(f"{'  ' * depth}{quoted_name(name)} = {text};\n" for name, text in lines)
