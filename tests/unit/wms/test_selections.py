"""What of a revision a watch with a filter is told."""

from __future__ import annotations

from ewms.wms.v1 import taskforce_pb2, taskforce_service_pb2, watch_pb2, workflow_service_pb2
from wms_grpc.api.selections import TaskforceSelection, WorkflowSelection
from wms_grpc.domain.filters import WATCHED_TASKFORCES, WORKFLOWS, parse_filter
from wms_grpc.domain.ids import WorkflowId
from wms_grpc.storage.feed_parts import REVISION_OF_MANY, PositionPart, framed, place_of
from wms_grpc.storage.messages import PHASE


def part_of(
    *changes: watch_pb2.Change,
    before: int | None = 50,
    after: int = 50,
    part: int = 0,
    is_last: bool = True,
) -> PositionPart:
    """A part of a revision of a workflow whose priority goes from `before` to `after`."""
    revision = watch_pb2.WorkflowRevision(
        workflow_id="WF-1", revision=7, changes=changes, is_last=is_last
    )
    return PositionPart(
        *place_of(1, part, is_last),
        message=framed(REVISION_OF_MANY, revision.SerializeToString()),
        workflow_id=WorkflowId("WF-1"),
        revision=7,
        is_last=is_last,
        before=None if before is None else {"priority": before},
        after={"priority": after},
    )


def taskforce(uuid: str, phase: str, earlier: str = "UNSPECIFIED", priority: int = 50):
    return watch_pb2.Change(
        taskforce=taskforce_pb2.Taskforce(
            taskforce_uuid=uuid, phase=PHASE[phase], priority=priority
        ),
        previous_phase=PHASE[earlier],
    )


def workflows(text: str) -> WorkflowSelection:
    return WorkflowSelection(parse_filter(text, WORKFLOWS).predicate)


def taskforces(text: str) -> TaskforceSelection:
    return TaskforceSelection(parse_filter(text, WATCHED_TASKFORCES).predicate)


def told(message: bytes | None) -> tuple[list[str], list[str], bool] | None:
    if message is None:
        return None
    revision = taskforce_service_pb2.WatchTaskforcesResponse.FromString(message).revision
    return (
        [c.taskforce.taskforce_uuid for c in revision.changes],
        list(revision.left_taskforce_uuids),
        revision.is_last,
    )


def test_a_workflow_is_told_when_it_matches_after_the_revision():
    chosen = workflows("priority > 60")
    for before in (None, 50, 70):
        part = part_of(before=before, after=61)
        assert chosen.of(part) == part.message
    assert chosen.of(part_of(before=50, after=60)) is None
    assert chosen.of(part_of(before=None, after=60)) is None


def test_a_workflow_leaves_once_with_the_last_part():
    chosen = workflows("priority > 60")
    assert chosen.of(part_of(before=70, after=60, is_last=False)) is None
    message = chosen.of(part_of(before=70, after=60, part=1))
    assert message is not None
    left = workflow_service_pb2.WatchWorkflowsResponse.FromString(message).left
    assert (left.workflow_id, left.revision) == ("WF-1", 7)


def test_a_taskforce_enters_stays_and_leaves_by_its_phase():
    chosen = taskforces("phase = CONDOR_SUBMIT")
    part = part_of(
        taskforce("entering", "CONDOR_SUBMIT", "PENDING_STARTER"),
        taskforce("staying", "CONDOR_SUBMIT", "CONDOR_SUBMIT"),
        taskforce("new", "CONDOR_SUBMIT"),
        taskforce("leaving", "PENDING_STOPPER", "CONDOR_SUBMIT"),
        taskforce("never", "PENDING_STARTER", "PRE_LAUNCH"),
    )
    assert told(chosen.of(part)) == (["entering", "staying", "new"], ["leaving"], True)


def test_a_taskforce_leaves_by_the_difference_of_its_workflows_priority():
    chosen = taskforces("priority > 100")
    part = part_of(
        taskforce("added", "PRE_LAUNCH", "PRE_LAUNCH", priority=95),
        taskforce("usual", "PRE_LAUNCH", "PRE_LAUNCH", priority=-5),
        before=10,
        after=0,
    )
    assert told(chosen.of(part)) == ([], ["added"], True)


def test_of_a_taskforce_that_changes_twice_the_end_counts():
    chosen = taskforces("phase = CONDOR_SUBMIT")
    there_and_back = (
        taskforce("t", "CONDOR_SUBMIT", "PENDING_STARTER"),
        taskforce("t", "PENDING_STOPPER", "CONDOR_SUBMIT"),
    )
    assert chosen.of(part_of(*there_and_back)) is None
    away_and_back = (
        taskforce("t", "PENDING_STOPPER", "CONDOR_SUBMIT"),
        taskforce("t", "CONDOR_SUBMIT", "PENDING_STOPPER"),
    )
    assert told(chosen.of(part_of(*away_and_back))) == (["t"], [], True)


def test_a_revision_that_was_told_in_part_ends_with_its_last_part():
    chosen = taskforces("phase = CONDOR_SUBMIT")
    matching, other = taskforce("a", "CONDOR_SUBMIT"), taskforce("b", "PRE_LAUNCH")
    assert chosen.of(part_of(other, is_last=False)) is None
    assert told(chosen.of(part_of(matching, part=1, is_last=False))) == (["a"], [], False)
    assert chosen.of(part_of(other, part=2, is_last=False)) is None
    assert told(chosen.of(part_of(other, part=3))) == ([], [], True)
    assert chosen.of(part_of(other)) is None
