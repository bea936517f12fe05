"""Draining: which queues close, which tasks are done, and when a workflow has succeeded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from wms_values import NOW, a_queue, a_task

from wms_grpc.domain.draining import Drainage, drain
from wms_grpc.domain.model import Queue, TaskDirective

_GRACE = timedelta(seconds=30)


class _Flow:
    """A workflow's tasks and queues, and an MQS that does what it is told."""

    def __init__(self, tasks: list[TaskDirective], queues: list[Queue]) -> None:
        self.tasks = tasks
        self.queues = queues
        self.last = self._drain()

    def _drain(self) -> Drainage:
        drainage = drain(self.tasks, self.queues, NOW, _GRACE)
        self.tasks, self.queues = list(drainage.directives), list(drainage.queues)
        return drainage

    def _change(self, alias: str, **fields: bool) -> None:
        self.queues = [replace(q, **fields) if q.alias == alias else q for q in self.queues]
        self.last = self._drain()

    def close_requested(self, alias: str) -> None:
        self._change(alias, is_close_requested=True)

    def emptied(self, *aliases: str) -> None:
        """The MQS closes what is due, and the workers empty it."""
        for alias in aliases:
            assert alias in self.closing, f"{alias} is not due to close"
            self._change(alias, is_close_due=False, is_closed=True, is_drained=True)

    @property
    def closing(self) -> set[str]:
        return {q.alias for q in self.queues if q.is_close_due}

    @property
    def done(self) -> set[str]:
        return {task.name for task in self.tasks if task.is_done}


def _public(alias: str, **fields: bool) -> Queue:
    return a_queue(alias, is_public=True, **fields)


def test_nothing_closes_before_its_user_says_so() -> None:
    flow = _Flow([a_task("copy", "in", "out")], [_public("in"), _public("out")])

    assert flow.closing == set()
    assert not flow.last.is_finished


def test_a_chain_drains_from_its_head() -> None:
    flow = _Flow(
        [a_task("first", "in", "middle"), a_task("second", "middle", "out")],
        [_public("in"), a_queue("middle"), _public("out")],
    )

    flow.close_requested("in")
    assert flow.closing == {"in"}

    flow.emptied("in")
    assert flow.done == {"first"}
    assert [task.name for task in flow.last.newly_done] == ["first"]
    assert flow.closing == {"middle"}
    assert not flow.last.is_finished

    flow.emptied("middle")
    assert flow.done == {"first", "second"}
    assert flow.last.is_finished


def test_a_task_that_is_done_has_its_workers_stopped_after_the_grace() -> None:
    flow = _Flow([a_task("copy", "in", "out")], [_public("in"), _public("out")])

    flow.close_requested("in")
    flow.emptied("in")

    (task,) = flow.tasks
    assert (task.done_time, task.stop_due) == (NOW, NOW + _GRACE)


def test_a_diamond_closes_its_end_only_after_both_its_sides() -> None:
    flow = _Flow(
        [
            a_task("split", "in", "left right"),
            a_task("port", "left", "joined"),
            a_task("starboard", "right", "joined"),
            a_task("join", "joined", "out"),
        ],
        [_public("in"), *map(a_queue, ("left", "right", "joined")), _public("out")],
    )

    flow.close_requested("in")
    flow.emptied("in")
    assert flow.closing == {"left", "right"}

    flow.emptied("left")
    assert flow.done == {"split", "port"}
    assert "joined" not in flow.closing

    flow.emptied("right", "joined")
    assert flow.last.is_finished


def test_a_task_with_two_inputs_is_done_when_both_are_drained() -> None:
    flow = _Flow([a_task("merge", "a b")], [_public("a"), _public("b")])

    flow.close_requested("a")
    flow.emptied("a")
    assert flow.done == set()

    flow.close_requested("b")
    flow.emptied("b")
    assert flow.last.is_finished


def test_a_task_on_a_loop_of_its_own_is_never_done_by_itself() -> None:
    flow = _Flow([a_task("again", "in loop", "loop")], [_public("in"), a_queue("loop")])

    flow.close_requested("in")
    flow.emptied("in")

    assert flow.closing == set()
    assert flow.done == set()
    assert not flow.last.is_finished


def test_what_is_fed_from_a_loop_runs_until_its_user_finishes_it() -> None:
    flow = _Flow(
        [
            a_task("ping", "in a", "b"),
            a_task("pong", "b", "a out"),
            a_task("after", "out"),
        ],
        [_public("in"), *map(a_queue, ("a", "b", "out"))],
    )

    flow.close_requested("in")
    flow.emptied("in")

    assert flow.closing == set()
    assert flow.done == set()


def test_a_public_queue_that_a_task_writes_to_waits_for_that_task_too() -> None:
    flow = _Flow(
        [a_task("first", "in", "shared"), a_task("second", "shared")],
        [_public("in"), _public("shared")],
    )

    flow.close_requested("shared")
    assert flow.closing == set()

    flow.close_requested("in")
    flow.emptied("in")
    assert flow.closing == {"shared"}


def test_a_public_queue_that_tasks_write_to_does_not_close_without_its_user() -> None:
    flow = _Flow([a_task("copy", "in", "out")], [_public("in"), _public("out")])

    flow.close_requested("in")
    flow.emptied("in")

    assert flow.closing == set()
    assert flow.last.is_finished


def test_a_close_that_was_asked_for_before_the_grant_waits_for_it() -> None:
    early = _public("in", is_activated=False, is_close_requested=True)
    flow = _Flow([a_task("copy", "in")], [early])
    assert flow.closing == set()

    flow._change("in", is_activated=True)
    assert flow.closing == {"in"}


def test_what_is_closed_is_not_closed_again() -> None:
    closed = _public("in", is_close_requested=True, is_closed=True)

    assert _Flow([a_task("copy", "in")], [closed]).closing == set()
