"""A node of a DAG into a task: its work, its scripts, its recovery.

Annotations, under `dagman`, hold what the task has no field for: `submit_file` (one that is not in
the bundle, or of a node without work); `vars` and `append_vars` that no description uses; `inline`
and `sub_dag` of a node without work; `dir`, `initialdir`, `queue`, `hold_script`, `pre_debug`,
`post_debug`, `save_point_file`, `tolerance`, `tolerance_mode`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wms_grpc.domain.tasks import (
    AbortRule,
    BatchWork,
    NoopWork,
    Recovery,
    Role,
    Script,
    SubWorkflowWork,
    SuccessRule,
    Task,
    Work,
)
from wms_grpc.gateway.dagman.commands import NodeKind, ScriptCommand, Tolerance
from wms_grpc.gateway.dagman.graph import Node
from wms_grpc.gateway.dagman.jobs import Job, job_of, placed
from wms_grpc.gateway.dagman.submit import (
    Assignment,
    SubmitDescription,
    assignment,
    read_description,
)
from wms_grpc.gateway.dagman.text import Findings
from wms_grpc.gateway.model import Bundle, FindingSeverity

__all__ = ["SUBMIT_SUFFIX", "TaskReader"]

SUBMIT_SUFFIX: Final = ".condor.sub"
"""What DAGMan's own submit description of a DAG is called."""

_ROLES: Final[dict[NodeKind, Role]] = {
    "JOB": "node",
    "SUBDAG": "node",
    "FINAL": "final",
    "SERVICE": "service",
    "PROVISIONER": "provisioner",
}


class TaskReader:
    """Makes tasks of nodes; each submit file is read once."""

    def __init__(self, bundle: Bundle, findings: Findings, *, appends: bool) -> None:
        self._bundle = bundle
        self._findings = findings
        self._appends = appends
        self._descriptions: dict[object, SubmitDescription] = {}
        self._jobs: dict[tuple[SubmitDescription, str], Job] = {}

    def task(self, node: Node) -> Task:
        """Return the task of a node."""
        notes: dict[str, object] = {}
        work = self._work(node, notes)
        self._script_notes(node, notes)
        if node.tolerance is not None:
            work = _tolerated(work, node.tolerance, notes)
        self._report_role(node)
        return Task(
            name=node.name,
            work=work,
            role=_ROLES[node.definition.kind],
            recovery=_recovery(node),
            pre=_script(node.scripts.get("PRE"), node.folder),
            post=_script(node.scripts.get("POST"), node.folder),
            pre_skip=node.pre_skip,
            abort=AbortRule(node.abort.exit_code, node.abort.returned) if node.abort else None,
            priority=node.priority,
            category=node.category,
            is_done=node.is_done,
            annotations={"dagman": notes} if notes else {},
        )

    def _work(self, node: Node, notes: dict[str, object]) -> Work:
        definition = node.definition
        said = definition.description
        if definition.is_noop:
            return self._noop(node, notes)
        if definition.kind == "SUBDAG":
            return self._sub_workflow(node, said, notes)
        if said.endswith(SUBMIT_SUFFIX):
            if definition.kind != "FINAL":
                message = "the submit description of a DAG: DAGMan wants SUBDAG EXTERNAL for that"
                self._findings.add("NESTED_DAG", message, definition.position, node.name)
            return self._sub_workflow(node, said.removesuffix(SUBMIT_SUFFIX), notes)
        description = self._description(node)
        if description is None:
            self._missing(node, said, "submit file")
            notes["submit_file"] = said
            self._note_folder(node.folder, notes)
            self._note_variables(node, notes)
            return BatchWork()
        before, after = self._assignments(node)
        job = self._job(node, description, before, after)
        if definition.inline is not None and job.work.n_procs != 1:
            message = "DAGMan queues one job of a description in the DAG, whatever it says"
            self._findings.add("INLINE_QUEUE", message, definition.position, node.name)
        self._note_folder(node.folder, notes)
        if job.initialdir:
            notes["initialdir"] = job.initialdir
        if job.queue:
            notes["queue"] = job.queue
        unused = {each: each for each in job.unused.values()}
        _note_values([each for each in before if each in unused], "vars", node, notes)
        _note_values([each for each in after if each in unused], "append_vars", node, notes)
        return job.work

    def _job(
        self,
        node: Node,
        description: SubmitDescription,
        before: list[Assignment],
        after: list[Assignment],
    ) -> Job:
        """Return the node's job; nodes share one where their descriptions have no macros."""
        if before or after or not description.is_constant:
            return job_of(description, before, after, node.name, node.folder, self._findings)
        key = (description, node.folder)
        if key not in self._jobs:
            self._jobs[key] = job_of(description, (), (), node.name, node.folder, self._findings)
        return self._jobs[key]

    def _noop(self, node: Node, notes: dict[str, object]) -> NoopWork:
        definition = node.definition
        if definition.inline is not None:
            notes["inline"] = [line.text for line in definition.inline]
        elif definition.kind == "SUBDAG":
            notes["sub_dag"] = definition.description
        elif definition.description != "-":  # what is written where there is nothing to name
            notes["submit_file"] = definition.description
        self._note_folder(node.folder, notes)
        self._note_variables(node, notes)
        return NoopWork()

    def _sub_workflow(self, node: Node, said: str, notes: dict[str, object]) -> SubWorkflowWork:
        file = placed(node.folder, said)
        if file not in self._bundle.files:
            self._missing(node, said, "DAG file")
        self._note_folder(node.folder, notes)
        self._note_variables(node, notes)
        return SubWorkflowWork("dagman", file)

    def _description(self, node: Node) -> SubmitDescription | None:
        definition = node.definition
        if definition.inline is not None:
            at = definition.position
            return read_description(definition.inline, at.file, at, self._findings)
        named = node.scope.description(definition.description)
        path = placed(node.folder, definition.description)
        key: object = named if named is not None else path
        if key in self._descriptions:
            return self._descriptions[key]
        if named is not None:
            at = named.position
            read = read_description(named.lines, at.file, at, self._findings)
        elif path in self._bundle.files:
            content = self._bundle.files[path]
            read = read_description(content, path, definition.position, self._findings)
        else:
            return None
        self._descriptions[key] = read
        return read

    def _missing(self, node: Node, said: str, what: str) -> None:
        message = f"the {what} {said} is not in the bundle"
        if "PRE" in node.scripts:
            message += "; the PRE script may write it"
        may_be = "PRE" in node.scripts or node.is_done
        severity: FindingSeverity = "warning" if may_be else "error"
        position = node.definition.position
        self._findings.add("MISSING_FILE", message, position, node.name, severity)

    def _assignments(self, node: Node) -> tuple[list[Assignment], list[Assignment]]:
        before: list[Assignment] = []
        after: list[Assignment] = []
        for command in node.variables:
            is_after = command.placement == "APPEND" or (not command.placement and self._appends)
            pairs = [assignment(key, value, command.position) for key, value in command.pairs]
            (after if is_after else before).extend(pairs)
        return before, after

    def _note_variables(self, node: Node, notes: dict[str, object]) -> None:
        before, after = self._assignments(node)
        _note_values(before, "vars", node, notes)
        _note_values(after, "append_vars", node, notes)

    def _note_folder(self, folder: str, notes: dict[str, object]) -> None:
        if folder:
            notes["dir"] = folder

    def _script_notes(self, node: Node, notes: dict[str, object]) -> None:
        for moment in ("PRE", "POST"):
            command = node.scripts.get(moment)
            if command is not None and command.debug is not None:
                notes[f"{moment.lower()}_debug"] = list(command.debug)
        hold = node.scripts.get("HOLD")
        if hold is not None:
            notes["hold_script"] = {
                "words": list(hold.words),
                "defer": list(hold.defer or ()),
                "debug": list(hold.debug or ()),
            }
            message = "a HOLD script is kept, and not run: it needs the access point"
            self._findings.add("NEEDS_ACCESS_POINT", message, hold.position, node.name)
        if node.save_point is not None:
            notes["save_point_file"] = node.save_point.file
            message = (
                "the save point is kept, and not written: `ewms rescue` goes on from any state"
            )
            position = node.save_point.position
            self._findings.add("NEEDS_ACCESS_POINT", message, position, node.name, "info")

    def _report_role(self, node: Node) -> None:
        if node.definition.kind == "PROVISIONER":
            message = "a PROVISIONER node is for DAGMan at an access point: delegate the DAG to one"
            position = node.definition.position
            self._findings.add("NEEDS_ACCESS_POINT", message, position, node.name, "error")


def _note_values(
    assignments: list[Assignment], name: str, node: Node, notes: dict[str, object]
) -> None:
    if assignments:
        notes[name] = {each.key: each.value.replace("$(JOB)", node.name) for each in assignments}


def _recovery(node: Node) -> Recovery:
    retry = node.retry
    if retry is None:
        return Recovery()
    never = () if retry.unless_exit is None else (retry.unless_exit,)
    return Recovery(max_tries=retry.n_retries + 1, never_on=never)


def _script(command: ScriptCommand | None, folder: str) -> Script | None:
    if command is None:
        return None
    status, seconds = command.defer or (None, 0)
    return Script(placed(folder, command.words[0]), command.words[1:], status, seconds)


def _tolerated(work: Work, tolerance: Tolerance, notes: dict[str, object]) -> Work:
    if tolerance.mode:
        notes["tolerance_mode"] = tolerance.mode
    if not isinstance(work, BatchWork) or "submit_file" in notes:
        notes["tolerance"] = f"{tolerance.value}%" if tolerance.is_percent else str(tolerance.value)
        return work
    if tolerance.is_percent:
        return replace(work, success=SuccessRule(share=(100 - tolerance.value) / 100))
    at_least = max(work.n_procs - tolerance.value, 0)
    return replace(work, success=SuccessRule(at_least=at_least))
