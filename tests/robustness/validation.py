"""The recorded history against the model: every promise by its name.

Nothing is asked of the system here; all is judged from what clients saw, from the ledger that the
tasks wrote, and from the job event logs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from event_validation import clusters, events, executions
from history import (
    Called,
    FeedMessage,
    Final,
    History,
    StreamOpened,
    WatchMessage,
)
from model import (
    RevisionAssembly,
    Violation,
    WorkflowModel,
    difference,
    state_name,
)

from ewms.wms.v1 import watch_pb2

__all__ = ["missing_in_feed", "validate"]


_Revisions = dict[str, dict[int, watch_pb2.WorkflowRevision]]


def validate(history: History, ledger: Path, grid: Path) -> list[Violation]:
    """Everything that must not have happened."""
    revisions: _Revisions = defaultdict(dict)
    snapshots: dict[str, list[watch_pb2.WorkflowSnapshot]] = defaultdict(list)
    return list(
        chain(
            _watches(history, revisions, snapshots),
            _feed(history, revisions),
            _workflows(history, revisions, snapshots),
            _submissions(history),
            _reads(history),
            events(history),
            executions(history, ledger),
            clusters(history, grid),
        )
    )


def missing_in_feed(history: History) -> set[str]:
    """Workflows whose last revision the feed's watcher has not seen."""
    seen: dict[str, int] = {}
    for record in history.of(FeedMessage):
        match record.message.WhichOneof("event"):
            case "snapshot":
                for workflow in record.message.snapshot.workflows:
                    seen[workflow.workflow_id] = workflow.revision
            case "revision" if record.message.revision.is_last:
                part = record.message.revision
                seen[part.workflow_id] = max(part.revision, seen.get(part.workflow_id, 0))
    return {
        final.workflow_id
        for final in history.of(Final)
        if seen.get(final.workflow_id, 0) < final.workflow.revision
    }


def _watches(
    history: History,
    revisions: _Revisions,
    snapshots: dict[str, list[watch_pb2.WorkflowSnapshot]],
) -> Iterator[Violation]:
    """Each stream by itself, and the same revision on all of them alike."""
    streams = {opened.stream: opened for opened in history.of(StreamOpened)}
    assemblies: dict[str, RevisionAssembly] = {}
    partial: dict[str, watch_pb2.WorkflowSnapshot] = {}
    for record in history.of(WatchMessage):
        resume = streams[record.stream].resume
        assembly = assemblies.setdefault(
            record.stream, RevisionAssembly(resume if isinstance(resume, int) else None)
        )
        message = record.message
        match message.WhichOneof("event"):
            case "snapshot":
                part = message.snapshot
                whole = partial.setdefault(record.stream, watch_pb2.WorkflowSnapshot())
                if resume is not None or assembly.last is not None:
                    yield Violation("Resumable", record.stream, "a snapshot that nobody asked for")
                whole.MergeFrom(part)
                if part.is_last:
                    assembly.last = whole.revision
                    snapshots[record.workflow_id].append(whole)
            case "revision":
                revision = assembly.add(message.revision)
                if revision is not None:
                    yield from _same_everywhere(record.stream, revision, revisions)
            case "checkpoint":
                assembly.checkpoint(message.checkpoint.revision)
    for stream, assembly in assemblies.items():
        for guarantee, text in assembly.problems:
            yield Violation(guarantee, stream, text)


def _same_everywhere(
    stream: str, revision: watch_pb2.WorkflowRevision, revisions: _Revisions
) -> Iterator[Violation]:
    known = revisions[revision.workflow_id].setdefault(revision.revision, revision)
    if known != revision:
        yield Violation("Atomic", stream, f"not as elsewhere: {difference(known, revision)}")


def _feed(history: History, revisions: _Revisions) -> Iterator[Violation]:
    """The watch over all workflows: for each of them the same revisions, each once, in order."""
    assemblies: dict[str, RevisionAssembly] = {}
    for record in history.of(FeedMessage):
        message = record.message
        match message.WhichOneof("event"):
            case "snapshot":
                for workflow in message.snapshot.workflows:
                    assemblies[workflow.workflow_id] = RevisionAssembly(workflow.revision)
            case "revision":
                workflow_id = message.revision.workflow_id
                assembly = assemblies.setdefault(workflow_id, RevisionAssembly(0))
                revision = assembly.add(message.revision)
                if revision is not None:
                    yield from _same_everywhere(record.stream, revision, revisions)
            case "left":
                yield Violation("Reliable", record.stream, f"{message.left.workflow_id} left")
    for workflow_id, assembly in assemblies.items():
        for guarantee, text in assembly.problems:
            yield Violation(guarantee, f"feed, {workflow_id}", text)
    for workflow_id in missing_in_feed(history):
        yield Violation("Reliable", "feed", f"the end of {workflow_id} never came")


def _workflows(
    history: History,
    revisions: _Revisions,
    snapshots: dict[str, list[watch_pb2.WorkflowSnapshot]],
) -> Iterator[Violation]:
    """What happened in each workflow was allowed; snapshots, history and Get say the same."""
    for final in history.of(Final):
        subject = final.workflow_id
        taken = sorted(snapshots[subject], key=lambda snapshot: snapshot.revision)
        if not taken:
            yield Violation("Reliable", subject, "no watch of it ever began")
            continue
        model = WorkflowModel.begin(taken[0])
        first = model.revision
        for number in range(first, final.workflow.revision + 1):
            if number > first:
                revision = revisions[subject].get(number)
                if revision is None:
                    yield Violation("Reliable", subject, f"{number} never came")
                    return
                for text in model.apply(revision):
                    yield Violation("State machine", subject, f"{number}: {text}")
            for snapshot in (one for one in taken if one.revision == number):
                for text in model.differences(snapshot):
                    yield Violation("Atomic", subject, f"snapshot at {number}: {text}")
        yield from _last_words(model, final)
        yield from _same_history(model, final, first)


def _last_words(model: WorkflowModel, final: Final) -> Iterator[Violation]:
    subject = final.workflow_id
    if model.workflow != final.workflow:
        yield Violation("Get is watch", subject, difference(model.workflow, final.workflow))
    listed = {taskforce.taskforce_uuid: taskforce for taskforce in final.taskforces}
    for uuid in listed.keys() | model.taskforces.keys():
        if listed.get(uuid) != model.taskforces.get(uuid):
            text = difference(model.taskforces.get(uuid), listed.get(uuid))
            yield Violation("Get is watch", uuid, text)
    if not final.workflow.HasField("settled_time"):
        yield Violation("Settled", subject, f"still {state_name(final.workflow)}")


def _same_history(model: WorkflowModel, final: Final, first: int) -> Iterator[Violation]:
    entries = [entry for entry in final.entries if entry.was_successful and entry.revision > first]
    told = sorted(
        (entry.revision, entry.subject, entry.what) for entry in entries if entry.kind == 3
    )
    if told != sorted(model.phases):
        yield Violation(
            "History is watch", final.workflow_id, f"phases {told}, watched {sorted(model.phases)}"
        )
    states = {entry.revision: entry.what for entry in entries if entry.kind == 2}
    if states != dict(model.states):
        yield Violation(
            "History is watch", final.workflow_id, f"states {states}, watched {model.states}"
        )


def _submissions(history: History) -> Iterator[Violation]:
    """One request id, one workflow."""
    made: dict[str, set[str]] = defaultdict(set)
    for call in history.of(Called):
        if call.method == "SubmitWorkflow" and call.answer is not None:
            made[call.request.labels["story"]].add(call.answer.workflow.workflow_id)
        elif call.method == "ListWorkflows" and call.answer is not None:
            for workflow in call.answer.workflows:
                made[workflow.labels["story"]].add(workflow.workflow_id)
    for story, workflows in made.items():
        if len(workflows) > 1:
            yield Violation("Idempotent", f"story {story}", f"became {sorted(workflows)}")


def _reads(history: History) -> Iterator[Violation]:
    """Whoever asks after something was known, by whomever, sees it or what came after."""
    known = sorted(_knowledge(history), key=lambda fact: fact[0])
    reads = sorted(
        (call for call in history.of(Called) if call.answer is not None and _workflows_of(call)),
        key=lambda call: call.began,
    )
    newest: dict[str, int] = {}
    facts = iter(known)
    fact = next(facts, None)
    for read in reads:
        while fact is not None and fact[0] < read.began:
            newest[fact[1]] = max(fact[2], newest.get(fact[1], 0))
            fact = next(facts, None)
        for workflow in _workflows_of(read):
            before = newest.get(workflow.workflow_id, 0)
            if workflow.revision < before:
                yield Violation(
                    "Fresh", f"{read.method} of {read.client} at {read.began}",
                    f"{workflow.workflow_id} at {workflow.revision}, known was {before}",
                )  # fmt: skip


def _knowledge(history: History) -> Iterator[tuple[float, str, int]]:
    for record in history.of(WatchMessage):
        if record.message.WhichOneof("event") == "revision":
            yield record.at, record.workflow_id, record.message.revision.revision
    for call in history.of(Called):
        for workflow in _workflows_of(call):
            yield call.at, workflow.workflow_id, workflow.revision


def _workflows_of(call: Called) -> list[Any]:
    match call.method:
        case "ListWorkflows" if call.answer is not None:
            return list(call.answer.workflows)
        case "GetWorkflow" | "SubmitWorkflow" | "FinishWorkflow" | "AbortWorkflow" if (
            call.answer is not None
        ):
            return [call.answer.workflow]
    return []
