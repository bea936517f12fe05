"""A view shows what its events have said, and sums workers up as the server does."""

from __future__ import annotations

import pytest

from ewms.wms.v1 import task_pb2, taskforce_pb2, watch_pb2, workflow_pb2
from ewms_client.view import WorkflowView, standing_reason, summarize
from ewms_client.watching import Restarted

Phase = taskforce_pb2.TaskforcePhase


def taskforce(
    number: int,
    phase: Phase.ValueType,
    *,
    n_workers: int = 10,
    cluster_id: int | None = None,
    statuses: dict[str, dict[str, int]] | None = None,
    errors: dict[str, int] | None = None,
) -> taskforce_pb2.Taskforce:
    return taskforce_pb2.Taskforce(
        taskforce_uuid=f"TF-{number}",
        phase=phase,
        n_workers=n_workers,
        cluster_id=cluster_id,
        compound_statuses={
            status: taskforce_pb2.PilotStatusCounts(counts=counts)
            for status, counts in (statuses or {}).items()
        },
        top_task_errors=errors,
    )


def snapshot(revision: int, *taskforces: taskforce_pb2.Taskforce) -> watch_pb2.WorkflowSnapshot:
    return watch_pb2.WorkflowSnapshot(
        revision=revision,
        workflow=workflow_pb2.Workflow(
            workflow_id="WF-1", state=workflow_pb2.WORKFLOW_STATE_ACTIVE
        ),
        task_directives=[task_pb2.TaskDirective(task_id="TK-1")],
        taskforces=taskforces,
        queues=[workflow_pb2.Queue(alias="input")],
        is_last=True,
    )


def revision(number: int, *changes: watch_pb2.Change) -> watch_pb2.WorkflowRevision:
    return watch_pb2.WorkflowRevision(
        workflow_id="WF-1", revision=number, changes=changes, is_last=True
    )


def test_a_revision_replaces_what_it_names_and_nothing_else() -> None:
    view = WorkflowView()
    view.apply(snapshot(1, taskforce(1, Phase.TASKFORCE_PHASE_PRE_LAUNCH)))

    view.apply(
        revision(
            2,
            watch_pb2.Change(taskforce=taskforce(2, Phase.TASKFORCE_PHASE_PRE_LAUNCH)),
            watch_pb2.Change(queue=workflow_pb2.Queue(alias="input", is_activated=True)),
            watch_pb2.Change(task_directive=task_pb2.TaskDirective(task_id="TK-1", is_done=True)),
            watch_pb2.Change(
                workflow=workflow_pb2.Workflow(
                    workflow_id="WF-1", state=workflow_pb2.WORKFLOW_STATE_SUCCEEDED
                )
            ),
        )
    )

    assert view.revision == 2
    assert view.is_terminal
    assert not view.is_settled
    assert set(view.taskforces) == {"TF-1", "TF-2"}
    assert view.queues["input"].is_activated
    assert view.task_directives["TK-1"].is_done


def test_statuses_replace_statuses_and_leave_the_rest_of_the_taskforce() -> None:
    view = WorkflowView()
    view.apply(
        snapshot(
            1,
            taskforce(
                1, Phase.TASKFORCE_PHASE_CONDOR_SUBMIT, statuses={"IDLE": {"": 10}}, cluster_id=7
            ),
        )
    )
    assert view.summary.n_workers_running == 0

    view.apply(
        revision(
            2,
            watch_pb2.Change(
                taskforce_status=taskforce_pb2.TaskforceStatus(
                    taskforce_uuid="TF-1",
                    compound_statuses={
                        "RUNNING": taskforce_pb2.PilotStatusCounts(counts={"Tasking": 10})
                    },
                    top_task_errors={"no disk": 2},
                )
            ),
        )
    )

    assert set(view.taskforces["TF-1"].compound_statuses) == {"RUNNING"}
    assert view.taskforces["TF-1"].cluster_id == 7
    assert view.summary.n_workers_running == 10
    assert view.summary.top_task_errors == {"no disk": 2}


def test_a_later_snapshot_forgets_what_is_not_in_it() -> None:
    view = WorkflowView()
    view.apply(snapshot(1, taskforce(1, Phase.TASKFORCE_PHASE_PRE_LAUNCH)))

    view.apply(Restarted("compacted"))
    view.apply(snapshot(9, taskforce(2, Phase.TASKFORCE_PHASE_PRE_LAUNCH)))

    assert view.revision == 9
    assert set(view.taskforces) == {"TF-2"}


def test_the_summary_counts_as_the_contract_says() -> None:
    summary = summarize(
        [
            taskforce(1, Phase.TASKFORCE_PHASE_PENDING_STARTER, n_workers=5),
            taskforce(
                2,
                Phase.TASKFORCE_PHASE_CONDOR_SUBMIT,
                n_workers=20,
                cluster_id=0,
                statuses={
                    "RUNNING": {"Tasking": 6, "": 1, "FatalError": 2, "Done": 3},
                    "IDLE": {"": 8},
                },
                errors={"a": 1, "b": 3},
            ),
            taskforce(
                3,
                Phase.TASKFORCE_PHASE_CONDOR_COMPLETE,
                n_workers=40,
                statuses={"COMPLETED": {"Done": 40}},
                errors={"a": 1},
            ),
            taskforce(4, Phase.TASKFORCE_PHASE_FAILED, n_workers=80),
        ]
    )

    assert summary.n_workers_running == 7
    assert summary.n_workers_requested == 25
    assert summary.n_workers_waiting == 5
    assert summary.taskforces_by_phase == {
        "PENDING_STARTER": 1,
        "CONDOR_SUBMIT": 1,
        "CONDOR_COMPLETE": 1,
        "FAILED": 1,
    }
    assert summary.compound_statuses["COMPLETED"].counts == {"Done": 40}
    assert summary.top_task_errors == {"a": 2, "b": 3}


def test_only_the_ten_most_common_errors_are_kept_and_ties_go_by_name() -> None:
    errors = {f"error {letter}": 1 for letter in "lkjihgfedcba"} | {"error z": 5}

    summary = summarize([taskforce(1, Phase.TASKFORCE_PHASE_CONDOR_SUBMIT, errors=errors)])

    assert set(summary.top_task_errors) == {"error z"} | {f"error {c}" for c in "abcdefghi"}


def test_a_status_of_a_taskforce_that_nobody_has_told_of_is_an_error() -> None:
    view = WorkflowView()
    view.apply(snapshot(1))
    status = taskforce_pb2.TaskforceStatus(taskforce_uuid="TF-9")

    with pytest.raises(KeyError):
        view.apply(revision(2, watch_pb2.Change(taskforce_status=status)))


def test_a_taskforce_says_what_it_waits_for_or_why_it_failed() -> None:
    waiting = taskforce(1, Phase.TASKFORCE_PHASE_PENDING_STARTER)
    waiting.waiting_reason = "the agent of schedd osg"
    failed = taskforce(2, Phase.TASKFORCE_PHASE_FAILED)
    failed.phase_change_log.add(context="HTCondor: DENIED")
    running = taskforce(3, Phase.TASKFORCE_PHASE_CONDOR_SUBMIT)
    assert standing_reason(waiting) == "the agent of schedd osg"
    assert standing_reason(failed) == "HTCondor: DENIED"
    assert standing_reason(running) == ""
