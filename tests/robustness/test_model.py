"""The validation finds what it is there to find: histories that break one promise each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from history import (
    Acknowledged,
    Called,
    Consumed,
    FaultInjected,
    FeedMessage,
    Final,
    History,
    Offered,
    StreamOpened,
    WatchMessage,
)
from proc_model import ProcModel
from validation import validate

from ewms.wms.v1 import watch_pb2, workflow_pb2, workflow_service_pb2

WORKFLOW = "WF-1"
STATES = ("PENDING", "ACTIVE", "ACTIVE", "FINISHED")


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.jsonl")
    yield history
    history.close()


@pytest.fixture
def promises(history: History, tmp_path: Path) -> Callable[[], set[str]]:
    """What was broken, by name."""
    return lambda: {
        violation.promise for violation in validate(history, tmp_path / "ledger", tmp_path)
    }


def workflow(revision: int) -> workflow_pb2.Workflow:
    result = workflow_pb2.Workflow(
        workflow_id=WORKFLOW,
        revision=revision,
        state=f"WORKFLOW_STATE_{STATES[revision - 1]}",  # type: ignore[arg-type]
    )
    if STATES[revision - 1] == "FINISHED":
        result.end_time.seconds = result.settled_time.seconds = 1
    return result


def change(revision: int, *, is_last: bool = True) -> Any:
    return workflow_service_pb2.WatchWorkflowResponse(
        revision=watch_pb2.WorkflowRevision(
            workflow_id=WORKFLOW,
            revision=revision,
            changes=[watch_pb2.Change(workflow=workflow(revision))],
            is_last=is_last,
        )
    )


def checkpoint(revision: int) -> Any:
    return workflow_service_pb2.WatchWorkflowResponse(
        checkpoint=watch_pb2.Checkpoint(revision=revision)
    )


SNAPSHOT = workflow_service_pb2.WatchWorkflowResponse(
    snapshot=watch_pb2.WorkflowSnapshot(revision=1, workflow=workflow(1), is_last=True)
)
WHOLE = (SNAPSHOT, change(2), change(3), change(4))


def watch(history: History, *messages: Any, resume: int | None = None, stream: str = "s") -> None:
    history.add(StreamOpened(client="w", stream=stream, server="a", resume=resume))
    for message in messages:
        history.add(
            WatchMessage(client="w", stream=stream, workflow_id=WORKFLOW, message=message)
        )  # fmt: skip


def end(history: History, revision: int = 4) -> None:
    """The story's end, and the feed that saw all of it."""
    states = [
        workflow_pb2.HistoryEntry(revision=number, kind=2, what=what, was_successful=True)  # type: ignore[arg-type]
        for number, what in ((1, "PENDING"), (2, "ACTIVE"), (4, "FINISHED"))
    ]
    for number in range(1, 5):
        history.add(FeedMessage(client="f", stream="f", message=fed(number)))
    history.add(
        Final(
            client="s", workflow_id=WORKFLOW, workflow=workflow(revision), taskforces=(),
            entries=tuple(states), dead_payloads=(),
        )
    )  # fmt: skip


def fed(number: int) -> Any:
    return workflow_service_pb2.WatchWorkflowsResponse(revision=change(number).revision)


def test_a_history_that_keeps_every_promise_is_clean(
    history: History, promises: Callable[[], set[str]]
) -> None:
    watch(history, *WHOLE, checkpoint(4))
    watch(history, change(4), resume=3, stream="t")
    end(history)
    assert promises() == set()


@pytest.mark.parametrize(
    ("messages", "broken"),
    [
        ((SNAPSHOT, change(2), change(4)), "Reliable"),
        ((*WHOLE, change(4)), "Unique"),
        ((*WHOLE, change(3)), "Ordered"),
        ((*WHOLE, checkpoint(5)), "Bookmarkable"),
        ((SNAPSHOT, change(2), change(3, is_last=False), checkpoint(3)), "Bookmarkable"),
        ((SNAPSHOT, change(2), change(3, is_last=False), change(4)), "Atomic"),
    ],
)
def test_each_guarantee_of_a_watch_is_checked(
    history: History, promises: Callable[[], set[str]], messages: tuple[Any, ...], broken: str
) -> None:
    watch(history, *messages)
    end(history)
    assert broken in promises()


def test_a_resumed_watch_that_leaves_something_out_is_found(
    history: History, promises: Callable[[], set[str]]
) -> None:
    watch(history, *WHOLE)
    watch(history, change(4), resume=2, stream="t")
    end(history)
    assert promises() == {"Resumable"}


def test_two_watchers_that_see_different_things_are_found(
    history: History, promises: Callable[[], set[str]]
) -> None:
    other = change(4)
    other.revision.changes[0].workflow.name = "another"
    watch(history, *WHOLE)
    watch(history, other, resume=3, stream="t")
    end(history)
    assert promises() == {"Atomic"}


def test_a_state_that_cannot_follow_is_found(
    history: History, promises: Callable[[], set[str]]
) -> None:
    back = change(3)
    back.revision.changes[0].workflow.state = workflow_pb2.WORKFLOW_STATE_PENDING
    watch(history, SNAPSHOT, change(2), back, change(4))
    end(history)
    assert "State machine" in promises()


def test_a_read_that_is_older_than_what_was_known_is_found(
    history: History, promises: Callable[[], set[str]]
) -> None:
    watch(history, *WHOLE)
    end(history)
    last = max(record.at for record in history.of(WatchMessage))
    history.add(
        Called(
            client="l", method="GetWorkflow", server="a", began=last + 1, request=SNAPSHOT,
            code="OK", answer=workflow_service_pb2.GetWorkflowResponse(workflow=workflow(3)),
        )
    )  # fmt: skip
    assert promises() == {"Fresh"}


def test_two_workflows_of_one_request_id_are_found(
    history: History, promises: Callable[[], set[str]]
) -> None:
    for workflow_id in ("WF-1", "WF-2"):
        answer = workflow_service_pb2.SubmitWorkflowResponse()
        answer.workflow.workflow_id = workflow_id
        request = workflow_service_pb2.SubmitWorkflowRequest(labels={"story": "1"})
        history.add(
            Called(
                client="s", method="SubmitWorkflow", server="a", began=0, request=request,
                code="OK", answer=answer,
            )
        )  # fmt: skip
    assert promises() == {"Idempotent"}


def offer(history: History, payload: str) -> None:
    for is_confirmed in (False, True):
        history.add(
            Offered(
                client="p", workflow_id=WORKFLOW, alias="in", event_id=payload, payload=payload,
                is_confirmed=is_confirmed,
            )
        )  # fmt: skip


def consume(history: History, payload: str, event_id: str = "e", *, acknowledge: bool) -> None:
    whose: Any = {
        "client": "c", "workflow_id": WORKFLOW, "alias": "out", "event_id": event_id,
        "delivery_id": "d",
    }  # fmt: skip
    history.add(Consumed(**whose, n_deliveries=1, payload=payload))
    if acknowledge:
        history.add(Acknowledged(**whose, is_lost=False))


def test_what_becomes_of_events_is_checked(
    history: History, promises: Callable[[], set[str]]
) -> None:
    watch(history, *WHOLE)
    end(history)
    offer(history, "x")
    assert promises() == {"Nothing lost"}
    consume(history, "x|a", acknowledge=False)
    consume(history, "x|a", acknowledge=True)
    assert promises() == set()
    consume(history, "x|a", acknowledge=False)
    assert promises() == {"Acknowledged"}
    consume(history, "x|a", "f", acknowledge=False)
    assert promises() == {"Acknowledged", "One result"}
    consume(history, "y|a", "g", acknowledge=False)
    assert promises() == {"Acknowledged", "One result", "Nothing invented"}


def test_a_task_runs_again_only_after_a_fault(
    history: History, promises: Callable[[], set[str]], tmp_path: Path
) -> None:
    offer(history, "x")
    ledger = tmp_path / "ledger"
    ledger.write_text("start 10.0 7 a 1 0 x\nstop 10.1 7 a 1 0 x\nstart 11.0 8 a 1 1 x\n")
    assert promises() == {"At least once"}
    history.add(FaultInjected(client="f", kind="kill", target="mqs", began=10.5, at=10.6))
    assert promises() == set()
    ledger.write_text("overlap 10.0 7 a 1 0 x\n")
    assert promises() == {"One worker"}


def test_a_proc_has_one_worker_and_a_taskforce_one_cluster() -> None:
    model = ProcModel()

    def problems(*lines: str) -> list[str]:
        return [text for line in lines for text in model.read(line)]

    began = ("035 (001.-1.000) 2026-01-01 Cluster submitted", "  ewms taskforce=TF-1 attempt=1")
    assert problems(*began, "000 (001.000.000) ", "001 (001.000.000) ") == []
    assert problems("004 (001.000.000) ", "001 (001.000.000) ") == []
    assert len(problems("001 (001.000.000) ")) == 1
    assert problems("005 (001.000.000) ") == []
    assert len(problems("001 (001.000.000) ")) == 1
    again = ("035 (002.-1.000) 2026-01-01 Cluster submitted", "  ewms taskforce=TF-1 attempt=2")
    assert len(problems(*again)) == 1
