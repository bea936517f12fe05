"""A workflow into one DAG file, with the submit descriptions in it.

A description that queues more than one job is a file beside it, for DAGMan queues one job of a
description in the DAG. What has no counterpart is a finding; a task without one becomes a NOOP
node with an error, so that the order of the others is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from wms_grpc.domain.tasks import (
    BatchWork,
    NoopWork,
    SubWorkflowWork,
    Task,
    WaitWork,
)
from wms_grpc.gateway.dagman.jobs import Job
from wms_grpc.gateway.dagman.names import written_name
from wms_grpc.gateway.dagman.node_writer import Notes, node_lines, quoted
from wms_grpc.gateway.dagman.settings import MAX_IDLE_KEY, MAX_RUNNING_KEY
from wms_grpc.gateway.dagman.submit_writer import description_lines, unplaced
from wms_grpc.gateway.dagman.text import Findings, refuse
from wms_grpc.gateway.model import Bundle, FindingSeverity, Position, Workflow, Written

__all__ = ["written_workflow"]

_KEYWORDS: Final = {
    "node": "JOB",
    "final": "FINAL",
    "service": "SERVICE",
    "provisioner": "PROVISIONER",
}
_ONE_EACH: Final = ("final", "provisioner")


def written_workflow(workflow: Workflow) -> Written:
    """Return the files of the workflow."""
    if workflow.given_net is not None:
        message = "a net that was given as a net may loop and choose; a DAG cannot"
        refuse("NOT_A_DAG", message, Position(), workflow.name)
    for role in _ONE_EACH:
        names = [task.name for task in workflow.tasks if task.role == role]
        if len(names) > 1:
            message = f"DAGMan has one {role} node, and these are {len(names)}"
            refuse("DUPLICATE_NAME", message, Position(), names[1])
    return _Writer(workflow).written()


class _Writer:
    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._name = written_name(workflow.name or "workflow")
        self._findings = Findings()
        self._notes = Notes(workflow.annotations)
        self._files: dict[str, bytes] = {}

    def written(self) -> Written:
        main = f"{self._name}.dag"
        lines = ["# Written by EWMS.", *self._settings()]
        for task in self._workflow.tasks:
            notes = Notes(task.annotations)
            lines += self._definition(task, notes)
            lines += node_lines(task, notes, self._findings)
            self._report_others(task.name, notes)
        lines += self._edges()
        lines += self._limits()
        self._report_workflow()
        text = "\n".join(lines) + "\n"
        self._files[main] = text.encode("utf-8", "replace")
        return Written(Bundle(self._files, main), self._findings.all())

    def _definition(self, task: Task, notes: Notes) -> list[str]:
        keyword, name = _KEYWORDS[task.role], written_name(task.name)
        options = f" DIR {quoted(folder)}" if (folder := notes.text("dir")) else ""
        if task.is_done:
            options += " DONE"
        match task.work:
            case BatchWork() as work if notes.text("submit_file") and work == BatchWork():
                return [f"{keyword} {name} {quoted(notes.text('submit_file'))}{options}"]
            case BatchWork() as work:
                return self._batch(f"{keyword} {name}", work, task.name, notes, options)
            case SubWorkflowWork() as work:
                return self._sub_workflow(task, work, notes.text("dir"), options)
            case WaitWork(seconds=float() | int() as seconds):
                message = "a wait becomes a job that sleeps at the access point"
                self._findings.add("NO_COUNTERPART", message, Position(), task.name, "info")
                job = BatchWork(
                    executable="/bin/sleep",
                    arguments=(f"{seconds:g}",),
                    attributes={"universe": "local"},
                )
                return self._batch(f"{keyword} {name}", job, task.name, notes, options)
            case NoopWork():
                return self._noop(f"{keyword} {name}", name, notes, options)
            case _:
                kind = type(task.work).__name__
                message = f"{kind} has no counterpart: the node does nothing"
                self._findings.add("NO_COUNTERPART", message, Position(), task.name, "error")
                return [f"{keyword} {name} - NOOP{options}"]

    def _batch(
        self, start: str, work: BatchWork, task: str, notes: Notes, options: str
    ) -> list[str]:
        folder, queue = notes.text("dir"), notes.text("queue")
        job = Job(work, notes.text("initialdir"), queue)
        said = description_lines(task, job, folder, self._findings)
        if work.n_procs == 1 and not queue:
            return [f"{start} {{", *(f"    {line}" for line in said), f"}}{options}"]
        path = f"{folder}/{written_name(task)}.sub" if folder else f"{written_name(task)}.sub"
        statement = f"queue {queue or work.n_procs}"
        self._files[path] = ("\n".join([*said, statement]) + "\n").encode("utf-8", "replace")
        return [f"{start} {written_name(task)}.sub{options}"]

    def _sub_workflow(
        self, task: Task, work: SubWorkflowWork, folder: str, options: str
    ) -> list[str]:
        file = unplaced(folder, work.file)
        name = written_name(task.name)
        if work.language != "dagman" or work.engine != "ewms":
            message = f"a sub-workflow in {work.language} by {work.engine} is run by DAGMan here"
            severity: FindingSeverity = "warning" if work.language == "dagman" else "error"
            self._findings.add("NO_COUNTERPART", message, Position(), task.name, severity)
        if task.role == "node":
            return [f"SUBDAG EXTERNAL {name} {quoted(file)}{options}"]
        return [f"{_KEYWORDS[task.role]} {name} {quoted(file + '.condor.sub')}{options}"]

    def _noop(self, start: str, name: str, notes: Notes, options: str) -> list[str]:
        if inline := notes.texts("inline"):
            return [f"{start} {{", *inline, f"}} NOOP{options}"]
        if sub_dag := notes.text("sub_dag"):
            return [f"SUBDAG EXTERNAL {name} {quoted(sub_dag)} NOOP{options}"]
        submit = notes.text("submit_file")
        return [f"{start} {quoted(submit) if submit else '-'} NOOP{options}"]

    def _edges(self) -> Iterator[str]:
        weak = {
            (tuple(parents), tuple(children)) for parents, children in self._notes.pairs("weak")
        }
        for dependency in self._workflow.dependencies:
            word = "WEAK PARENT" if (dependency.parents, dependency.children) in weak else "PARENT"
            parents = " ".join(written_name(name) for name in dependency.parents)
            children = " ".join(written_name(name) for name in dependency.children)
            yield f"{word} {parents} CHILD {children}"
        for pin in self._notes.rows("pins"):
            yield f"{pin[0]} {written_name(pin[1])} {pin[2]}"

    def _limits(self) -> Iterator[str]:
        for category, limit in self._workflow.category_limits.items():
            yield f"MAXJOBS {quoted(category)} {limit}"

    def _settings(self) -> Iterator[str]:
        config = dict(self._notes.table("config"))
        if self._workflow.max_running is not None:
            config[MAX_RUNNING_KEY] = str(self._workflow.max_running)
        if self._workflow.max_idle is not None:
            config[MAX_IDLE_KEY] = str(self._workflow.max_idle)
        missing = self._notes.text("config_file")
        if missing:
            yield f"CONFIG {quoted(missing)}"
        elif config:
            path = f"{self._name}.config"
            self._files[path] = "".join(f"{k} = {v}\n" for k, v in config.items()).encode()
            yield f"CONFIG {path}"
        for keyword in ("DOT", "NODE_STATUS_FILE", "JOBSTATE_LOG"):
            for words in self._notes.rows(keyword.lower()):
                yield " ".join([keyword, *map(quoted, words)])
        for keyword in ("ENV", "SET_JOB_ATTR"):
            for words in self._notes.rows(keyword.lower()):
                yield " ".join([keyword, *words])

    def _report_others(self, task: str, notes: Notes) -> None:
        if others := notes.other_languages:
            message = f"annotations of {', '.join(others)} are left out"
            self._findings.add("NO_COUNTERPART", message, Position(), task, "info")

    def _report_workflow(self) -> None:
        workflow = self._workflow
        left_out: Iterable[tuple[str, object]] = (
            ("priority", workflow.priority is not None),
            ("labels", workflow.labels),
            ("public aliases", workflow.public_aliases),
        )
        for what, said in left_out:
            if said:
                message = f"a DAG has no {what}"
                self._findings.add("NO_COUNTERPART", message, Position(), what)
        self._report_others(workflow.name, self._notes)
